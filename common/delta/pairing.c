#include "common/delta/pairing.h"

#include "common/delta/container.h"

#include "common/base/cleanup.h"

#include <stdlib.h>
#include <string.h>

enum {
    SAMPLES = 256,
    CANDIDATES_MAX = 64,
    SURE = 75,  /* percent of samples that are close: nothing better is looked for */
    LIKELY = 30 /* below it a tensor of another name is taken for a stranger */
};

struct match {
    const struct tensor_files *files;
    struct container old, new;
};

/* ---- closeness ---- */

/* Two elements are close: for floats the same sign and about the same magnitude, by their highest 16 bits (8 in fp16
 * and below it); small integers by their difference. */
static bool close_at(enum tensor_type type, const uint8_t *a, const uint8_t *b)
{
    size_t size = tensor_type_size(type);
    if (size == 1)
        return abs((int8_t)a[0] - (int8_t)b[0]) <= 8;
    int high = (int8_t)a[size - 1] * 256 + a[size - 2] - (int8_t)b[size - 1] * 256 - b[size - 2];
    switch (type) {
    case TENSOR_F32:
    case TENSOR_BF16:
        return abs(high) <= 32; /* a quarter of a power of two */
    case TENSOR_F16:
        return abs(high) <= 256;
    case TENSOR_F64:
        return abs(high) <= 4;
    default:
        return high == 0;
    }
}

/* Percent of samples that are close. */
static int closeness(const struct match *m, const struct container_tensor *new, const struct container_tensor *old)
{
    size_t size = tensor_type_size(new->type);
    size_t elements = (size_t) new->bytes / size;
    size_t samples = elements < SAMPLES ? elements : SAMPLES;
    size_t hits = 0;
    for (size_t i = 0; i < samples; i++) {
        /* Uneven steps, so that no period of the tensor meets them. */
        size_t at = elements * i / samples + (elements > samples ? (i * 7919) % (elements / samples) : 0);
        at = (at < elements ? at : elements - 1) * size;
        hits += close_at(new->type, m->files->new + new->offset + at, m->files->old + old->offset + at);
    }
    return samples == 0 ? 0 : (int)(hits * 100 / samples);
}

static bool same_shape(const struct container_tensor *a, const struct container_tensor *b)
{
    return a->type == b->type && a->rows == b->rows && a->cols == b->cols;
}

/* The old tensor of the same name, when it is close; else the closest one of that shape. NULL: there is none. */
static const struct container_tensor *old_find(const struct match *m, const struct container_tensor *new)
{
    const struct container_tensor *found = NULL;
    size_t named = container_find(&m->old, new->name, strlen(new->name));
    int best = LIKELY - 1;
    if (named != SIZE_MAX && same_shape(&m->old.tensors[named], new)) {
        found = &m->old.tensors[named];
        best = closeness(m, new, found);
        if (best >= SURE)
            return found;
    }
    size_t tried = 0;
    for (size_t i = 0; i < m->old.count && tried < CANDIDATES_MAX; i++) {
        const struct container_tensor *old = &m->old.tensors[i];
        if (!same_shape(old, new))
            continue;
        tried++;
        int close = closeness(m, new, old);
        /* A tensor of its own name is only left for one that is clearly closer. */
        if (close > best + (found != NULL && i != named ? 10 : 0)) {
            best = close;
            found = old;
        }
    }
    return found;
}

/* ---- order ---- */

static int offset_order(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* Sorted offsets of the new tensors that are scales of others. */
static size_t scales_list(const struct container *c, int64_t *out)
{
    size_t n = 0;
    for (size_t i = 0; i < c->count; i++)
        if (c->tensors[i].scale_count > 0)
            out[n++] = c->tensors[i].scales;
    qsort(out, n, sizeof *out, offset_order);
    return n;
}

static int size_order(const void *a, const void *b)
{
    const struct container_tensor *x = *(const struct container_tensor *const *)a;
    const struct container_tensor *y = *(const struct container_tensor *const *)b;
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static int place_order(const void *a, const void *b)
{
    const struct container_tensor *x = *(const struct container_tensor *const *)a;
    const struct container_tensor *y = *(const struct container_tensor *const *)b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static struct tensor_pair pair_of(const struct match *m, const struct container_tensor *new)
{
    const struct container_tensor *old = old_find(m, new);
    struct tensor_pair pair = {.type = new->type,
                               .rows = new->rows,
                               .cols = new->cols,
                               .kernel = new->kernel,
                               .new_offset = new->offset,
                               .old_offset = old == NULL ? -1 : old->offset,
                               .old_scales = -1,
                               .new_scales = -1};
    if (old != NULL && new->scale_count > 0 && old->scale_count == new->scale_count) {
        pair.old_scales = old->scales;
        pair.new_scales = new->scales;
        pair.scale_count = new->scale_count;
    }
    return pair;
}

/* In the order of the file, scales first; when there are too many, the largest. */
static enum err pairs_make(const struct match *m, struct pairing *pairing)
{
    size_t count = m->new.count;
    cleanup_free const struct container_tensor **chosen = calloc(count + 1, sizeof(void *));
    cleanup_free int64_t *scales = calloc(count + 1, sizeof *scales);
    if (chosen == NULL || scales == NULL)
        return ERR_NO_MEMORY;
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        if (m->new.tensors[i].bytes >= CONTAINER_TENSOR_MIN)
            chosen[n++] = &m->new.tensors[i];
    if (n > FORMAT_PAIRS_MAX) {
        qsort((void *)chosen, n, sizeof(void *), size_order);
        n = FORMAT_PAIRS_MAX;
    }
    qsort((void *)chosen, n, sizeof(void *), place_order);
    pairing->pairs = calloc(n + 1, sizeof *pairing->pairs);
    if (pairing->pairs == NULL)
        return ERR_NO_MEMORY;
    size_t scale_count = scales_list(&m->new, scales);
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < n; i++) {
            bool scale = bsearch(&chosen[i]->offset, scales, scale_count, sizeof *scales, offset_order) != NULL;
            if (scale == (pass == 0))
                pairing->pairs[pairing->count++] = pair_of(m, chosen[i]);
        }
    return ERR_OK;
}

enum err pairing_make(const struct tensor_files *files, struct pairing *ret_pairing)
{
    struct match m = {.files = files};
    struct pairing pairing = {.container = FORMAT_BINARY};
    enum err e = container_read(files->new, files->new_size, &m.new);
    if (e == ERR_OK && m.new.kind != FORMAT_BINARY)
        e = container_read(files->old, files->old_size, &m.old);
    if (e == ERR_OK && m.new.kind != FORMAT_BINARY &&m.old.kind != FORMAT_BINARY) {
        e = pairs_make(&m, &pairing);
        if (e == ERR_OK && pairing.count > 0)
            pairing.container = m.new.kind;
    }
    container_free(&m.old);
    container_free(&m.new);
    if (e == ERR_OK)
        *ret_pairing = pairing;
    else
        pairing_free(&pairing);
    return e;
}

void pairing_free(struct pairing *pairing)
{
    free(pairing->pairs);
    *pairing = (struct pairing){0};
}
