#pragma once
/* Whole small files, written so that a crash leaves the old or the new content. All block. */

#include "common/base/err.h"

#include <stddef.h>
#include <sys/types.h>

/* Reads all of a file of at most max bytes; the text is NUL-terminated (free() it). ERR_TOO_LARGE, ERR_NOT_FOUND,
 * ERR_IO. */
[[nodiscard]] enum err file_read(const char *path, size_t max, char **ret_text, size_t *ret_len);

/* The same, relative to a directory fd; O_NONBLOCK, so that a strange file cannot hang the caller. */
[[nodiscard]] enum err file_read_at(int dir, const char *path, size_t max, char **ret_text, size_t *ret_len);

/* Writes path + ".tmp", fsyncs it, renames it, fsyncs the directory. */
[[nodiscard]] enum err file_write(const char *path, const void *bytes, size_t len, mode_t mode);

/* Exactly len bytes from offset on, through short reads and signals. ERR_CORRUPT: the file ends before. */
[[nodiscard]] enum err file_pread(int fd, void *bytes, size_t len, int64_t offset);

/* All len bytes, through short writes and signals. */
[[nodiscard]] enum err file_write_fd(int fd, const void *bytes, size_t len);

/* fsync of a directory, so that a rename or a new name in it is durable. */
[[nodiscard]] enum err file_sync_dir(const char *path);

/* mkdir -p; directories that are made get the mode. */
[[nodiscard]] enum err file_make_dirs(const char *path, mode_t mode);

/* rm -r, never following a link; a path that is not there is fine. */
[[nodiscard]] enum err file_remove_tree(const char *path);

/* A new empty file in the directory that has no name any more, so that it is gone with its last fd, whatever happens.
 * close() it. */
[[nodiscard]] enum err file_unnamed(const char *dir, int *ret_fd);
