#pragma once
/* Codes one tensor by a plan. Internal to common/delta. */

#include "common/delta/states.h"

enum {
    BLOCK_BYTES = 64 * 1024, /* a block ends with the line that brings it here */
    BLOCK_BYTES_MAX = BLOCK_BYTES + 2 * RESIDUAL_LINE_BYTES_MAX + 64
};

/* A tensor in memory: where its bytes are. */
struct tensor_data {
    struct tensor_view view;
    const uint8_t *old; /* NULL: there is none */
    const uint8_t *new;
    const uint8_t *old_scales, *new_scales; /* fp32; NULL: not known */
    uint64_t scale_count;
};

struct tensor_encoder {
    struct states states;
    struct range_encoder range;
    size_t lines; /* in the block that is being made */
    struct predict_scratch scratch;
    int64_t old[RESIDUAL_LINE_MAX], target[RESIDUAL_LINE_MAX], predicted[RESIDUAL_LINE_MAX];
    uint8_t hint[RESIDUAL_LINE_MAX];
};

/* NULL: no memory. */
[[nodiscard]] struct tensor_encoder *tensor_encoder_new(enum delta_effort effort);
void tensor_encoder_free(struct tensor_encoder *encoder);

/* Appends the tensor's factors and elements (not the plan). ERR_INVALID: the plan does not lead to the new tensor (a
 * grid that is none). ERR_NO_MEMORY. ret_fixed: how many of the bytes do not depend on the number of rows; or NULL. */
[[nodiscard]] enum err tensor_encode(struct tensor_encoder *encoder, const struct tensor_data *data,
                                     const struct plan *plan, const int32_t *down, struct buf *out, size_t *ret_fixed);

/* Ratio of old to new quantization scale of a row; 1 when it is not known or not usable. */
double tensor_scale_ratio(float old_scale, float new_scale);

/* The same for a row of a tensor. */
double tensor_row_ratio(const struct tensor_data *data, uint64_t row);
