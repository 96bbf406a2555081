#pragma once
/* A part of a file as if it were one: spans of it, back to back. Read through a small cache, because rebuilds jump.
 * Internal to common/delta. */

#include "common/base/err.h"

#include <stddef.h>
#include <stdint.h>

struct span {
    int64_t offset, size; /* in the file; size >= 1 */
};

/* Spans in the order of their offsets, not overlapping. */
struct span_list {
    struct span *items; /* owned */
    int64_t *starts;    /* where each begins in the whole; count entries, owned */
    size_t count, room;
    int64_t size; /* of all */
};

/* Appends; a span that touches the last one makes it longer. size 0 is nothing. ERR_NO_MEMORY. */
[[nodiscard]] enum err span_list_add(struct span_list *list, int64_t offset, int64_t size);
void span_list_free(struct span_list *list);

/* All of a file but the `taken` spans (sorted, not overlapping, inside the file). */
[[nodiscard]] enum err span_list_rest(const struct span *taken, size_t count, int64_t file_size,
                                      struct span_list *ret_list);

/* Reads or writes len bytes at position of the whole; they must be inside. ERR_IO (also when the file is shorter),
 * ERR_NO_SPACE. */
[[nodiscard]] enum err span_list_read(const struct span_list *list, int fd, int64_t position, void *bytes, size_t len);
[[nodiscard]] enum err span_list_write(const struct span_list *list, int fd, int64_t position, const void *bytes,
                                       size_t len);

enum { VFILE_BLOCK = 16 * 1024, VFILE_BLOCKS = 32, VFILE_AHEAD = 16 };

/* The cache. One owner. */
struct vfile {
    int fd;
    const struct span_list *spans; /* borrowed */
    int64_t tags[VFILE_BLOCKS];    /* number of the block + 1 */
    uint8_t blocks[VFILE_BLOCKS][VFILE_BLOCK + VFILE_AHEAD];
};

/* NULL without memory; free() it. */
struct vfile *vfile_new(int fd, const struct span_list *spans);

/* The bytes from position on, as many as are together; 0 <= position < size of the whole. They stay until the next
 * call. VFILE_AHEAD bytes behind them can be read too, or what is left of the whole. ERR_IO. */
[[nodiscard]] enum err vfile_at(struct vfile *v, int64_t position, const uint8_t **ret_bytes, size_t *ret_len);
