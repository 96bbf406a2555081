#pragma once
/* Encodes and decodes tensors in memory. */
#include "unit.h"

#include "common/base/buf.h"
#include "common/delta/tensors.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { KIT_MEMORY = 7 << 20, KIT_PAIRS = 64 };

struct kit {
    struct tensor_pair pairs[KIT_PAIRS];
    size_t count;
    struct buf old, new; /* the two files */
    struct buf delta;
    int methods[KIT_PAIRS];
    int64_t bytes[KIT_PAIRS];
};

static inline void kit_init(struct kit *kit)
{
    *kit = (struct kit){.old = BUF_INIT(1 << 28), .new = BUF_INIT(1 << 28), .delta = BUF_INIT(1 << 28)};
}

static inline void kit_free(struct kit *kit)
{
    buf_free(&kit->old);
    buf_free(&kit->new);
    buf_free(&kit->delta);
}

/* Appends a tensor to both files (old may be NULL) and pairs them. */
static inline struct tensor_pair *kit_add(struct kit *kit, enum tensor_type type, uint64_t rows, uint64_t cols,
                                          const void *old, const void *new)
{
    const size_t len = (size_t)(rows * cols) * tensor_type_size(type);
    struct tensor_pair *pair = &kit->pairs[kit->count++];
    *pair = (struct tensor_pair){.type = type,
                                 .rows = rows,
                                 .cols = cols,
                                 .kernel = 1,
                                 .new_offset = (int64_t)kit->new.len,
                                 .old_offset = old == NULL ? -1 : (int64_t)kit->old.len,
                                 .old_scales = -1,
                                 .new_scales = -1};
    assert_int_equal(buf_add(&kit->new, new, len), ERR_OK);
    if (old != NULL)
        assert_int_equal(buf_add(&kit->old, old, len), ERR_OK);
    return pair;
}

static inline enum err kit_write(void *user, const void *bytes, size_t len)
{
    return buf_add(user, bytes, len);
}

static inline enum err kit_read(void *user, uint64_t at, void *bytes, size_t len)
{
    const struct kit *kit = user;
    assert_true(at <= kit->delta.len && len <= kit->delta.len - at);
    memcpy(bytes, kit->delta.data + at, len);
    return ERR_OK;
}

static inline void kit_encode(struct kit *kit, enum delta_effort effort, int threads)
{
    const struct tensor_files files = {.old = (const uint8_t *)kit->old.data,
                                       .old_size = kit->old.len,
                                       .new = (const uint8_t *)kit->new.data,
                                       .new_size = kit->new.len};
    buf_clear(&kit->delta);
    assert_int_equal(tensors_encode(&files, kit->pairs, kit->count,
                                    &(struct delta_options){.effort = effort, .threads = threads},
                                    &(struct tensor_sink){kit_write, &kit->delta}, kit->methods, kit->bytes, NULL),
                     ERR_OK);
}

static inline int kit_file(const struct buf *content)
{
    int fd = memfd_create("tensors", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content->len == 0 ? "" : content->data, content->len), (ssize_t)content->len);
    return fd;
}

/* Decodes the delta; ret_same: whether the new file came out. */
static inline enum err kit_decode(struct kit *kit, enum delta_effort effort, size_t memory, bool *ret_same)
{
    const int old = kit_file(&kit->old), new = memfd_create("tensors", MFD_CLOEXEC);
    assert_true(new >= 0);
    assert_int_equal(ftruncate(new, (off_t)kit->new.len), 0);
    const enum err e = tensors_decode(old, new, kit->pairs, kit->count, effort,
                                      &(struct tensor_source){kit_read, kit, kit->delta.len}, memory, NULL);
    char *back = malloc(kit->new.len + 1);
    assert_non_null(back);
    assert_int_equal(pread(new, back, kit->new.len, 0), (ssize_t)kit->new.len);
    *ret_same = kit->new.len == 0 || memcmp(back, kit->new.data, kit->new.len) == 0;
    free(back);
    close(old);
    close(new);
    return e;
}

/* There and back, at both efforts. Returns the size at `fast`. */
static inline size_t kit_check(struct kit *kit)
{
    size_t size = 0;
    for (int effort = DELTA_BEST; effort >= DELTA_FAST; effort--) {
        bool same = false;
        kit_encode(kit, (enum delta_effort)effort, 2);
        size = kit->delta.len;
        assert_int_equal(kit_decode(kit, (enum delta_effort)effort, KIT_MEMORY, &same), ERR_OK);
        assert_true(same);
        int64_t sum = 0;
        for (size_t i = 0; i < kit->count; i++) {
            assert_non_null(tensors_method_name(kit->methods[i]));
            sum += kit->bytes[i];
        }
        assert_in_range(size - (size_t)sum, kit->count > 0, 10 * kit->count); /* and the lengths of groups */
    }
    return size;
}

/* xorshift64*: the same numbers on every machine. */
static inline uint64_t kit_random(uint64_t *seed)
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return *seed * 2685821657736338717U;
}

/* About normal, deviation 1. */
static inline double kit_normal(uint64_t *seed)
{
    double sum = 0;
    for (int i = 0; i < 12; i++)
        sum += (double)(kit_random(seed) >> 11) * 0x1p-53;
    return sum - 6;
}
