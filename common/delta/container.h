#pragma once
/* Where the tensors of a model file lie. What is not understood is left out: a file may be anything at all. Only for
 * creating deltas. Internal to common/delta. */

#include "common/delta/format.h"

enum { CONTAINER_TENSOR_MIN = 32 }; /* bytes; smaller ones are not listed */

struct container_tensor {
    char *name; /* owned, "" for none */
    enum tensor_type type;
    uint64_t rows, cols; /* as in struct tensor_pair */
    uint32_t kernel;
    int64_t offset, bytes; /* in the file */
    int64_t scales;        /* fp32 quantization scales of an int8 tensor: offset in the file; -1: none known */
    uint64_t scale_count;  /* rows or 1; 0: none known */
};

struct container {
    enum format_container kind; /* FORMAT_BINARY: no tensors */
    struct container_tensor *tensors;
    size_t count, room;
};

/* Finds out what it is. ERR_NO_MEMORY only; any bytes are fine. */
[[nodiscard]] enum err container_read(const uint8_t *bytes, size_t size, struct container *ret_container);
void container_free(struct container *container);

/* ---- for the parsers ---- */

enum { CONTAINER_DIMS_MAX = 16 };

/* A tensor as its container describes it. */
struct container_shape {
    const uint8_t *name;
    size_t name_len;
    enum tensor_type type;
    uint64_t dims[CONTAINER_DIMS_MAX];
    size_t rank;
};

/* Appends a tensor, unless its size is not what its shape says; small ones, too (scales may be small). */
[[nodiscard]] enum err container_add(struct container *container, const struct container_shape *shape, int64_t offset,
                                     uint64_t bytes);

/* Index of the tensor of that name, SIZE_MAX when there is none. Needs container_sort(). */
size_t container_find(const struct container *container, const char *name, size_t len);

/* Sorts by name. */
void container_sort(struct container *container);

/* True when it looks like this kind through and through; then tensors are appended. ERR_NO_MEMORY. */
[[nodiscard]] enum err onnx_read(const uint8_t *bytes, size_t size, struct container *container, bool *ret_is);
[[nodiscard]] enum err safetensors_read(const uint8_t *bytes, size_t size, struct container *container, bool *ret_is);

/* Says that one tensor is scaled by another one (indices; SIZE_MAX is ignored). per_row: several scales are one per
 * row, not one per column. What does not fit is ignored. */
void container_scale(struct container *container, size_t tensor, size_t scale, bool per_row);
