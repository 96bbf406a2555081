#pragma once
/* A few rows of a tensor, to see on them which way of coding is cheap. Internal to common/delta. */

#include "common/delta/tensor_encode.h"

/* Elements that are enough for a sample. */
size_t sample_size(const struct tensor_view *view, enum delta_effort effort);

struct sample {
    struct tensor_data data; /* the sample as a tensor of its own */
    uint64_t *rows;          /* which rows of the tensor they are; NULL for pieces of a single row */
    double share;            /* of the tensor, 0 … 1 */
    uint8_t *bytes;          /* what data points to; NULL when the sample is the tensor itself */
};

[[nodiscard]] enum err sample_make(const struct tensor_data *data, size_t elements, struct sample *ret_sample);
void sample_free(struct sample *sample);

/* Bytes that the tensor would take by this plan, from what the sample takes. down: of all rows of the tensor, or NULL.
 * Infinite when the plan does not lead to the tensor. ERR_NO_MEMORY. */
[[nodiscard]] enum err sample_cost(const struct sample *sample, const struct plan *plan, const int32_t *down,
                                   enum delta_effort effort, double *ret_bytes);
