#pragma once
/* How the plan of a tensor is written at its head, and the limits that a reader holds it to. Internal to common/delta.
 */

#include "common/base/buf.h"
#include "common/delta/coded.h"
#include "common/delta/predict.h"

enum method {
    METHOD_SAME, /* the bytes of the old tensor */
    METHOD_LITERAL,
    METHOD_PACKED, /* its bytes, by zstd */
    METHOD_RESIDUAL,
    METHOD_ROW_SCALE,
    METHOD_LOW_RANK,
    METHOD_GRID,
    METHOD_GRID_LOW_RANK,
    METHOD_RESCALED,
    METHOD_DECAY,
    METHOD_COUNT
};

/* Factors across a tensor that a rebuild has memory for. */
enum { PLAN_ACROSS_BYTES_MAX = 3 << 18 };

/* What a pair comes to: rows that are too short to be of use are one long row, a kernel that divides nothing is none.
 */
struct tensor_view {
    enum tensor_type type;
    uint64_t rows, cols;
    unsigned kernel;
};

struct tensor_view tensor_view_of(const struct tensor_pair *pair);

/* The method's name is for people; SAME and PACKED have no plan. */
enum method plan_method(const struct plan *plan);

/* Appends method and plan (without the factors). */
[[nodiscard]] enum err plan_write(struct buf *out, enum method method, const struct plan *plan);

/* Reads them; across is left NULL. ERR_CORRUPT when a field is out of its range or does not fit the tensor. */
[[nodiscard]] enum err plan_read(struct coded *coded, const struct tensor_pair *pair, enum method *ret_method,
                                 struct plan *ret_plan, struct err_info *info);

/* Variable-length numbers, seven bits a byte, lowest first. */
[[nodiscard]] enum err plan_number_write(struct buf *out, uint64_t number);
[[nodiscard]] enum err plan_number_read(struct coded *coded, uint64_t max, uint64_t *ret_number, struct err_info *info);

[[nodiscard]] enum err plan_corrupt(struct err_info *info, const char *what);
