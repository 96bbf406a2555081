#include "common/delta/container.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_LEN = 1024, KERNEL_MAX = 1024 };

enum err container_add(struct container *c, const struct container_shape *shape, int64_t offset, uint64_t bytes)
{
    uint64_t cols = 1;
    uint64_t kernel = 1;
    uint64_t total = 0;
    for (size_t i = 0; i < shape->rank; i++) {
        if (shape->dims[i] == 0 || (i > 0 && __builtin_mul_overflow(cols, shape->dims[i], &cols)))
            return ERR_OK;
        if (i > 1)
            kernel *= shape->dims[i]; /* at most cols */
    }
    uint64_t rows = shape->rank > 1 ? shape->dims[0] : 1;
    if (shape->rank == 1)
        cols = shape->dims[0];
    if (__builtin_mul_overflow(rows, cols, &total) ||
        __builtin_mul_overflow(total, tensor_type_size(shape->type), &total) || total != bytes)
        return ERR_OK;
    if (c->count == c->room) {
        size_t room = c->room == 0 ? 64 : c->room * 2;
        struct container_tensor *tensors = realloc(c->tensors, room * sizeof *tensors);
        if (tensors == NULL)
            return ERR_NO_MEMORY;
        c->tensors = tensors;
        c->room = room;
    }
    char *name = strndup((const char *)shape->name, shape->name_len < NAME_MAX_LEN ? shape->name_len : NAME_MAX_LEN);
    if (name == NULL)
        return ERR_NO_MEMORY;
    c->tensors[c->count++] = (struct container_tensor){.name = name,
                                                       .type = shape->type,
                                                       .rows = rows,
                                                       .cols = cols,
                                                       .kernel = kernel > KERNEL_MAX ? 1 : (uint32_t)kernel,
                                                       .offset = offset,
                                                       .bytes = (int64_t)bytes,
                                                       .scales = -1};
    return ERR_OK;
}

static int name_order(const void *a, const void *b)
{
    const struct container_tensor *x = a;
    const struct container_tensor *y = b;
    int order = strcmp(x->name, y->name);
    return order != 0 ? order : x->offset < y->offset ? -1 : x->offset > y->offset;
}

void container_sort(struct container *c)
{
    if (c->count > 0)
        qsort(c->tensors, c->count, sizeof *c->tensors, name_order);
}

size_t container_find(const struct container *c, const char *name, size_t len)
{
    size_t low = 0;
    size_t high = c->count;
    if (len == 0 || len >= NAME_MAX_LEN)
        return SIZE_MAX;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = strncmp(c->tensors[mid].name, name, len);
        if (order == 0 && c->tensors[mid].name[len] != '\0')
            order = 1;
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    if (low == c->count || strncmp(c->tensors[low].name, name, len) != 0 || c->tensors[low].name[len] != '\0')
        return SIZE_MAX;
    return low;
}

void container_scale(struct container *c, size_t tensor, size_t scale, bool per_row)
{
    if (tensor == SIZE_MAX || scale == SIZE_MAX)
        return;
    struct container_tensor *t = &c->tensors[tensor];
    const struct container_tensor *s = &c->tensors[scale];
    uint64_t count = s->rows * s->cols;
    if ((t->type != TENSOR_I8 && t->type != TENSOR_U8) || s->type != TENSOR_F32 || t->scale_count > 0)
        return;
    if (count != 1 && (count != t->rows || !per_row))
        return;
    t->scales = s->offset;
    t->scale_count = count;
}

/* "conv1.weight_quantized" is scaled by "conv1.weight_scale", and so on. */
static void scales_by_name(struct container *c)
{
    static const char *const endings[] = {"_quantized", "_int8", "_q", ".q", ""};
    static const char *const scales[] = {"_scale", ".scale", "_scales", ".scales"};
    for (size_t i = 0; i < c->count; i++) {
        const char *name = c->tensors[i].name;
        size_t len = strlen(name);
        for (size_t k = 0; k < sizeof endings / sizeof endings[0] && c->tensors[i].scale_count == 0; k++) {
            size_t end = strlen(endings[k]);
            if (len <= end || strcmp(name + len - end, endings[k]) != 0)
                continue;
            for (size_t s = 0; s < sizeof scales / sizeof scales[0]; s++) {
                char other[NAME_MAX_LEN + 16];
                int n = snprintf(other, sizeof other, "%.*s%s", (int)(len - end), name, scales[s]);
                container_scale(c, i, container_find(c, other, (size_t)n), true);
            }
        }
    }
}

static int place_order(const void *a, const void *b)
{
    const struct container_tensor *x = a;
    const struct container_tensor *y = b;
    return x->offset != y->offset ? (x->offset < y->offset ? -1 : 1) : strcmp(x->name, y->name);
}

/* Two tensors may not share bytes: the one that begins later is none. */
static void overlaps_drop(struct container *c)
{
    if (c->count > 0)
        qsort(c->tensors, c->count, sizeof *c->tensors, place_order);
    size_t kept = 0;
    int64_t end = 0;
    for (size_t i = 0; i < c->count; i++) {
        if (c->tensors[i].offset < end) {
            free(c->tensors[i].name);
            continue;
        }
        end = c->tensors[i].offset + c->tensors[i].bytes;
        c->tensors[kept++] = c->tensors[i];
    }
    c->count = kept;
}

enum err container_read(const uint8_t *bytes, size_t size, struct container *ret_container)
{
    struct container c = {.kind = FORMAT_BINARY};
    bool is = false;
    enum err e = safetensors_read(bytes, size, &c, &is);
    if (e == ERR_OK && is)
        c.kind = FORMAT_SAFETENSORS;
    if (e == ERR_OK && !is) {
        container_free(&c);
        e = onnx_read(bytes, size, &c, &is);
        if (e == ERR_OK && is)
            c.kind = FORMAT_ONNX;
    }
    if (e != ERR_OK || !is) {
        container_free(&c);
        c.kind = FORMAT_BINARY;
    } else {
        overlaps_drop(&c);
        container_sort(&c);
        scales_by_name(&c);
    }
    *ret_container = c;
    return e;
}

void container_free(struct container *c)
{
    for (size_t i = 0; i < c->count; i++)
        free(c->tensors[i].name);
    free(c->tensors);
    *c = (struct container){0};
}
