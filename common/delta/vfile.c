#include "common/delta/vfile.h"

#include "common/base/file.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

enum err span_list_add(struct span_list *list, int64_t offset, int64_t size)
{
    if (size == 0)
        return ERR_OK;
    struct span *last = list->count == 0 ? NULL : &list->items[list->count - 1];
    if (last != NULL && last->offset + last->size == offset) {
        last->size += size;
        list->size += size;
        return ERR_OK;
    }
    if (list->count == list->room) {
        size_t room = list->room == 0 ? 16 : list->room * 2;
        struct span *items = realloc(list->items, room * sizeof *items);
        if (items == NULL)
            return ERR_NO_MEMORY;
        list->items = items;
        int64_t *starts = realloc(list->starts, room * sizeof *starts);
        if (starts == NULL)
            return ERR_NO_MEMORY;
        list->starts = starts;
        list->room = room;
    }
    list->items[list->count] = (struct span){.offset = offset, .size = size};
    list->starts[list->count++] = list->size;
    list->size += size;
    return ERR_OK;
}

void span_list_free(struct span_list *list)
{
    free(list->items);
    free(list->starts);
    *list = (struct span_list){0};
}

enum err span_list_rest(const struct span *taken, size_t count, int64_t file_size, struct span_list *ret_list)
{
    struct span_list list = {0};
    int64_t at = 0;
    enum err e = ERR_OK;
    for (size_t i = 0; e == ERR_OK && i < count; i++) {
        e = span_list_add(&list, at, taken[i].offset - at);
        at = taken[i].offset + taken[i].size;
    }
    if (e == ERR_OK)
        e = span_list_add(&list, at, file_size - at);
    if (e != ERR_OK) {
        span_list_free(&list);
        return e;
    }
    *ret_list = list;
    return ERR_OK;
}

/* ---- reading and writing ---- */

static size_t span_find(const struct span_list *list, int64_t position)
{
    size_t low = 0;
    size_t high = list->count;
    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;
        if (list->starts[mid] <= position)
            low = mid;
        else
            high = mid;
    }
    return low;
}

/* Spans lie inside the file: one that ends before is a failure of the disk. */
static enum err read_all(int fd, int64_t offset, uint8_t *bytes, size_t len)
{
    return file_pread(fd, bytes, len, offset) == ERR_OK ? ERR_OK : ERR_IO;
}

static enum err write_all(int fd, int64_t offset, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = pwrite(fd, bytes, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EFBIG) ? ERR_NO_SPACE : ERR_IO;
        bytes += n;
        offset += n;
        len -= (size_t)n;
    }
    return ERR_OK;
}

/* What is left of [position, position + len) of a list, span by span. */
struct rest {
    const struct span_list *list;
    size_t i; /* the span that position is in */
    int64_t position;
    size_t len;
};

static struct rest rest_of(const struct span_list *list, int64_t position, size_t len)
{
    return (struct rest){.list = list, .i = span_find(list, position), .position = position, .len = len};
}

/* The next piece of it that lies together in the file; false at the end. */
static bool rest_next(struct rest *r, int64_t *ret_offset, size_t *ret_len)
{
    if (r->len == 0)
        return false;
    const struct span *span = &r->list->items[r->i];
    int64_t inside = r->position - r->list->starts[r->i++];
    int64_t room = span->size - inside;
    size_t n = (int64_t)r->len < room ? r->len : (size_t)room;
    r->position += (int64_t)n;
    r->len -= n;
    *ret_offset = span->offset + inside;
    *ret_len = n;
    return true;
}

enum err span_list_read(const struct span_list *list, int fd, int64_t position, void *bytes, size_t len)
{
    struct rest rest = rest_of(list, position, len);
    uint8_t *out = bytes;
    int64_t offset = 0;
    size_t n = 0;
    enum err e = ERR_OK;
    for (; e == ERR_OK && rest_next(&rest, &offset, &n); out += n)
        e = read_all(fd, offset, out, n);
    return e;
}

enum err span_list_write(const struct span_list *list, int fd, int64_t position, const void *bytes, size_t len)
{
    struct rest rest = rest_of(list, position, len);
    const uint8_t *in = bytes;
    int64_t offset = 0;
    size_t n = 0;
    enum err e = ERR_OK;
    for (; e == ERR_OK && rest_next(&rest, &offset, &n); in += n)
        e = write_all(fd, offset, in, n);
    return e;
}

/* ---- cache ---- */

struct vfile *vfile_new(int fd, const struct span_list *spans)
{
    struct vfile *v = calloc(1, sizeof *v);
    if (v == NULL)
        return NULL;
    v->fd = fd;
    v->spans = spans;
    return v;
}

enum err vfile_at(struct vfile *v, int64_t position, const uint8_t **ret_bytes, size_t *ret_len)
{
    int64_t block = position / VFILE_BLOCK;
    size_t slot = (size_t)(block % VFILE_BLOCKS);
    int64_t start = block * VFILE_BLOCK;
    int64_t left = v->spans->size - start;
    size_t held = left < VFILE_BLOCK + VFILE_AHEAD ? (size_t)left : VFILE_BLOCK + VFILE_AHEAD;
    size_t len = held < VFILE_BLOCK ? held : VFILE_BLOCK;
    if (v->tags[slot] != block + 1) {
        v->tags[slot] = 0;
        enum err e = span_list_read(v->spans, v->fd, start, v->blocks[slot], held);
        if (e != ERR_OK)
            return e;
        v->tags[slot] = block + 1;
    }
    *ret_bytes = v->blocks[slot] + (position - start);
    *ret_len = len - (size_t)(position - start);
    return ERR_OK;
}
