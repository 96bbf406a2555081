#include "common/delta/vfile.h"

#include <errno.h>
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

static enum err read_all(int fd, int64_t offset, uint8_t *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = pread(fd, bytes, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return ERR_IO;
        bytes += n;
        offset += n;
        len -= (size_t)n;
    }
    return ERR_OK;
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

/* How much of [position, position + len) is in the i-th span, and where. */
static size_t span_part(const struct span_list *list, size_t i, int64_t position, size_t len, int64_t *ret_offset)
{
    int64_t inside = position - list->starts[i];
    int64_t room = list->items[i].size - inside;
    *ret_offset = list->items[i].offset + inside;
    return (int64_t)len < room ? len : (size_t)room;
}

enum err span_list_read(const struct span_list *list, int fd, int64_t position, void *bytes, size_t len)
{
    uint8_t *out = bytes;
    enum err e = ERR_OK;
    for (size_t i = span_find(list, position); e == ERR_OK && len > 0; i++) {
        int64_t offset = 0;
        size_t n = span_part(list, i, position, len, &offset);
        e = read_all(fd, offset, out, n);
        out += n;
        position += (int64_t)n;
        len -= n;
    }
    return e;
}

enum err span_list_write(const struct span_list *list, int fd, int64_t position, const void *bytes, size_t len)
{
    const uint8_t *in = bytes;
    enum err e = ERR_OK;
    for (size_t i = span_find(list, position); e == ERR_OK && len > 0; i++) {
        int64_t offset = 0;
        size_t n = span_part(list, i, position, len, &offset);
        e = write_all(fd, offset, in, n);
        in += n;
        position += (int64_t)n;
        len -= n;
    }
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
    size_t len = left < VFILE_BLOCK ? (size_t)left : VFILE_BLOCK;
    if (v->tags[slot] != block + 1) {
        v->tags[slot] = 0;
        enum err e = span_list_read(v->spans, v->fd, start, v->blocks[slot], len);
        if (e != ERR_OK)
            return e;
        v->tags[slot] = block + 1;
    }
    *ret_bytes = v->blocks[slot] + (position - start);
    *ret_len = len - (size_t)(position - start);
    return ERR_OK;
}
