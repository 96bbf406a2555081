#pragma once
/* Tensors of a new file, predicted from tensors of an old one: the part of a delta that knows about numbers. It knows
 * nothing of containers: whoever calls it says where the tensors lie. Internal to common/delta. */

#include "common/delta/delta.h"

enum tensor_type {
    TENSOR_F32,
    TENSOR_F16,
    TENSOR_BF16,
    TENSOR_F64,
    TENSOR_I8,
    TENSOR_U8,
    TENSOR_I16,
    TENSOR_I32,
    TENSOR_I64
};

/* One tensor of the new file and what it is predicted from. Little-endian, row-major. */
struct tensor_pair {
    enum tensor_type type;
    uint64_t rows, cols; /* the first dimension, and the product of the others; 1 row when there is only one */
    uint32_t kernel;     /* period of the inner pattern: elements of one convolution kernel, else 1; divides cols */
    int64_t new_offset;  /* of its bytes in the new file */
    int64_t old_offset;  /* in the old file: same type and shape; -1: nothing to predict it from */
    /* TENSOR_I8 and TENSOR_U8 only: where the fp32 quantization scales of both lie in their files; -1: not known. They
     * are not part of this tensor, and come before it in the list when they are tensors themselves. */
    int64_t old_scales, new_scales;
    uint64_t scale_count; /* rows, or 1 for all rows */
};

/* ---- encoding: both files in memory (mapped) ---- */

struct tensor_files {
    const uint8_t *old;
    size_t old_size;
    const uint8_t *new;
    size_t new_size;
};

/* Appends to the delta. Called from one thread, in order. */
struct tensor_sink {
    enum err (*write)(void *user, const void *bytes, size_t len);
    void *user;
};

/* Encodes all pairs, in their order, with options->threads threads; the bytes do not depend on their number.
 * ret_methods: index of the method of each pair (tensors_method_name), and ret_bytes: its encoded size; arrays of
 * count, or NULL. */
[[nodiscard]] enum err tensors_encode(const struct tensor_files *files, const struct tensor_pair *pairs, size_t count,
                                      const struct delta_options *options, const struct tensor_sink *sink,
                                      int *ret_methods, int64_t *ret_bytes, struct err_info *info);

/* ---- decoding: bounded memory, row by row ---- */

/* What tensors_encode wrote. Any thread may read. */
struct tensor_source {
    enum err (*read)(void *user, uint64_t at, void *bytes, size_t len); /* exactly len bytes; at + len <= size */
    void *user;
    uint64_t size;
};

/* The other direction: reads the old tensors (and the scales of the new file) by pread, writes the new ones by pwrite.
 * Offsets and sizes of pairs were checked against both files by the caller; the source is not trusted and must end with
 * the last tensor. Takes at most memory_max bytes: ERR_UNSUPPORTED when it needs more. Uses as many of the cores as
 * there is memory for (three for 8 MiB at `fast`, one at `best`). ERR_CORRUPT, ERR_IO, ERR_NO_SPACE, ERR_NO_MEMORY. */
[[nodiscard]] enum err tensors_decode(int old_fd, int new_fd, const struct tensor_pair *pairs, size_t count,
                                      enum delta_effort effort, const struct tensor_source *source, size_t memory_max,
                                      struct err_info *info);

/* "same", "literal", "residual", "row scale", "low rank", "grid", …: static; NULL behind the last. */
const char *tensors_method_name(int method);

/* Bytes of one element. */
size_t tensor_type_size(enum tensor_type type);
