#include "common/bundle/writer.h"

#include "common/base/file.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct writer {
    int fd;
    int64_t time_s;
    struct archive *archive;
    char path[PATH_MAX];
    char temporary[PATH_MAX]; /* "": there is none (any more) */
};

static enum err failed(const struct writer *w, int number, struct err_info *info)
{
    return err_set(info, err_from_errno(number), "%.200s: cannot write: %s", w->path, strerror(number));
}

static enum err archive_failed(const struct writer *w, struct err_info *info)
{
    int number = archive_errno(w->archive);
    return failed(w, number == 0 ? EIO : number, info);
}

static enum err archive_start(struct writer *w, struct err_info *info)
{
    w->archive = archive_write_new();
    if (w->archive == NULL)
        return ERR_NO_MEMORY;
    /* Plain ustar headers, with a pax one only for files of 8 GiB and more. */
    if (archive_write_set_format_pax_restricted(w->archive) != ARCHIVE_OK ||
        archive_write_add_filter_none(w->archive) != ARCHIVE_OK ||
        archive_write_open_fd(w->archive, w->fd) != ARCHIVE_OK)
        return archive_failed(w, info);
    return ERR_OK;
}

enum err writer_new(const char *path, int64_t time_ms, struct writer **ret_writer, struct err_info *info)
{
    cleanup_writer struct writer *w = calloc(1, sizeof *w);
    if (w == NULL)
        return ERR_NO_MEMORY;
    w->time_s = time_ms / 1000;
    int n = snprintf(w->path, sizeof w->path, "%s", path);
    int m = snprintf(w->temporary, sizeof w->temporary, "%s.tmp", path);
    if (n < 0 || m < 0 || (size_t)m >= sizeof w->temporary) {
        w->temporary[0] = '\0';
        w->fd = -1;
        return err_set(info, ERR_INVALID, "the path is too long");
    }
    w->fd = open(w->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (w->fd < 0) {
        w->temporary[0] = '\0';
        return failed(w, errno, info);
    }
    enum err e = archive_start(w, info);
    if (e != ERR_OK)
        return e;
    *ret_writer = w;
    w = NULL;
    return ERR_OK;
}

enum err writer_entry(struct writer *w, const char *name, int64_t size, struct err_info *info)
{
    struct archive_entry *entry = archive_entry_new();
    if (entry == NULL)
        return ERR_NO_MEMORY;
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0444);
    archive_entry_set_size(entry, size);
    archive_entry_set_mtime(entry, w->time_s, 0);
    int rc = archive_write_header(w->archive, entry);
    archive_entry_free(entry);
    return rc == ARCHIVE_OK ? ERR_OK : archive_failed(w, info);
}

enum err writer_bytes(struct writer *w, const void *bytes, size_t len, struct err_info *info)
{
    return archive_write_data(w->archive, bytes, len) == (la_ssize_t)len ? ERR_OK : archive_failed(w, info);
}

enum err writer_text(struct writer *w, const char *name, const void *bytes, size_t len, struct err_info *info)
{
    enum err e = writer_entry(w, name, (int64_t)len, info);
    return e == ERR_OK ? writer_bytes(w, bytes, len, info) : e;
}

enum err writer_commit(struct writer *w, struct err_info *info)
{
    char parent[PATH_MAX];
    if (archive_write_close(w->archive) != ARCHIVE_OK)
        return archive_failed(w, info);
    if (fsync(w->fd) != 0 || rename(w->temporary, w->path) != 0)
        return failed(w, errno, info);
    w->temporary[0] = '\0';
    memcpy(parent, w->path, sizeof parent);
    return file_sync_dir(dirname(parent));
}

struct writer *writer_free(struct writer *w)
{
    if (w == NULL)
        return NULL;
    (void)archive_write_free(w->archive);
    if (w->fd >= 0)
        (void)close(w->fd);
    if (w->temporary[0] != '\0')
        (void)unlink(w->temporary);
    free(w);
    return NULL;
}
