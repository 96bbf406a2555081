#include "common/delta/tensor_encode.h"

#include "common/base/cleanup.h"

#include <stdlib.h>

struct tensor_encoder *tensor_encoder_new(enum delta_effort effort)
{
    struct tensor_encoder *encoder = calloc(1, sizeof *encoder);
    if (encoder != NULL)
        encoder->states.effort = effort;
    return encoder;
}

void tensor_encoder_free(struct tensor_encoder *encoder)
{
    if (encoder == NULL)
        return;
    states_reset(&encoder->states);
    range_encoder_free(&encoder->range);
    free(encoder);
}

double tensor_scale_ratio(float old_scale, float new_scale)
{
    const double ratio = (double)old_scale / (double)new_scale;
    return ratio > 1e-30 && ratio < 1e30 ? ratio : 1;
}

static enum err block_end(struct tensor_encoder *encoder, struct buf *out)
{
    struct range_encoder *range = &encoder->range;
    range_encoder_finish(range);
    enum err e = plan_number_write(out, encoder->lines);
    if (e == ERR_OK)
        e = plan_number_write(out, range->coded.len);
    if (e == ERR_OK)
        e = plan_number_write(out, range->raw.len);
    if (e == ERR_OK && range->coded.len != 0)
        e = buf_add(out, range->coded.data, range->coded.len);
    if (e == ERR_OK && range->raw.len != 0)
        e = buf_add(out, range->raw.data, range->raw.len);
    range_encoder_start(range);
    encoder->lines = 0;
    return e;
}

/* Codes a line, and ends the block when it is full. */
static enum err line_put(struct tensor_encoder *encoder, struct residual *residual, const struct residual_line *line,
                         struct buf *out)
{
    enum err e = range_encoder_reserve(&encoder->range, RESIDUAL_LINE_BYTES_MAX + 64);
    if (e != ERR_OK)
        return e;
    residual_encode(residual, &encoder->range, line);
    encoder->lines++;
    return encoder->range.coded.len + encoder->range.raw.len < BLOCK_BYTES ? ERR_OK : block_end(encoder, out);
}

static enum err across_put(struct tensor_encoder *encoder, struct residual *factors, const struct plan *plan,
                           uint64_t cols, struct buf *out)
{
    static const int64_t zeros[PREDICT_RANK_MAX + 1];
    int64_t values[PREDICT_RANK_MAX];
    enum err e = ERR_OK;
    for (uint64_t j = 0; j < cols && e == ERR_OK; j++) {
        for (unsigned i = 0; i < plan->rank; i++)
            values[i] = (int64_t)plan->across[i * cols + j];
        e = line_put(encoder, factors,
                     &(struct residual_line){.predicted = zeros, .value = values, .count = plan->rank}, out);
    }
    return e;
}

static enum err down_put(struct tensor_encoder *encoder, struct residual *factors, unsigned count, const int32_t *down,
                         int64_t *ret_values, struct buf *out)
{
    static const int64_t zeros[PREDICT_RANK_MAX + 1];
    for (unsigned i = 0; i < count; i++)
        ret_values[i] = down[i];
    return line_put(encoder, factors, &(struct residual_line){.predicted = zeros, .value = ret_values, .count = count},
                    out);
}

double tensor_row_ratio(const struct tensor_data *data, uint64_t row)
{
    if (data->old_scales == NULL || data->new_scales == NULL)
        return 1;
    const uint64_t at = data->scale_count == 1 ? 0 : row;
    float scales[2];
    memcpy(&scales[0], data->old_scales + at * sizeof(float), sizeof(float));
    memcpy(&scales[1], data->new_scales + at * sizeof(float), sizeof(float));
    return tensor_scale_ratio(scales[0], scales[1]);
}

/* A piece of a row. */
static enum err piece_put(struct tensor_encoder *encoder, const struct tensor_data *data, const struct plan *plan,
                          const struct plan_row *row, struct residual *elements, uint64_t at, size_t column,
                          size_t count, struct buf *out)
{
    const enum tensor_type type = data->view.type;
    const size_t size = tensor_type_size(type);
    if (data->old != NULL)
        numbers_load(type, data->old + at * size, count, encoder->old);
    else
        memset(encoder->old, 0, count * sizeof encoder->old[0]);
    numbers_load(type, data->new + at *size, count, encoder->predicted);
    if (!predict_target(plan, type, count, encoder->old, encoder->predicted, &encoder->scratch, encoder->target))
        return ERR_INVALID;
    const bool hinted = predict_line(plan, row, type, data->view.cols, column, count, encoder->old, &encoder->scratch,
                                     encoder->predicted, encoder->hint);
    return line_put(encoder, elements,
                    &(struct residual_line){.predicted = encoder->predicted,
                                            .value = encoder->target,
                                            .hint = hinted ? encoder->hint : NULL,
                                            .count = count,
                                            .column = column},
                    out);
}

static enum err row_put(struct tensor_encoder *encoder, const struct tensor_data *data, const struct plan *plan,
                        const int32_t *down, struct residual *elements, struct residual *factors, uint64_t i,
                        struct buf *out)
{
    const struct tensor_view *view = &data->view;
    const unsigned factor_count = predict_row_factors(plan);
    struct plan_row row = {.scale = 1, .ratio = plan->rescaled ? tensor_row_ratio(data, i) : 1};
    enum err e = ERR_OK;
    if (factor_count != 0) {
        int64_t values[PREDICT_RANK_MAX + 1];
        e = down_put(encoder, factors, factor_count, down + i * factor_count, values, out);
        predict_row(plan, values, &row);
    }
    for (uint64_t j = 0; j < view->cols && e == ERR_OK; j += RESIDUAL_LINE_MAX) {
        const size_t count = view->cols - j < RESIDUAL_LINE_MAX ? (size_t)(view->cols - j) : RESIDUAL_LINE_MAX;
        e = piece_put(encoder, data, plan, &row, elements, i * view->cols + j, (size_t)j, count, out);
    }
    return e;
}

/* Rows from first to end, and the end of their block. */
static enum err rows_put(struct tensor_encoder *encoder, const struct tensor_data *data, const struct plan *plan,
                         const int32_t *down, uint64_t first, uint64_t end, struct buf *out)
{
    const unsigned factor_count = predict_row_factors(plan);
    struct residual *elements, *factors = NULL;
    enum err e = states_begin(&encoder->states, plan, &data->view, &elements, NULL);
    if (e == ERR_OK && factor_count != 0)
        e = states_begin_factors(&encoder->states, factor_count, &factors, NULL);
    for (uint64_t i = first; i < end && e == ERR_OK; i++)
        e = row_put(encoder, data, plan, down, elements, factors, i, out);
    return e == ERR_OK && encoder->lines != 0 ? block_end(encoder, out) : e;
}

/* Each slice has its length before it. */
static enum err slices_put(struct tensor_encoder *encoder, const struct tensor_data *data, const struct plan *plan,
                           const int32_t *down, uint64_t slice_rows, struct buf *out)
{
    cleanup_buf struct buf slice = BUF_INIT(SIZE_MAX / 2);
    enum err e = encoder->lines != 0 ? block_end(encoder, out) : ERR_OK;
    for (uint64_t first = 0; first < data->view.rows && e == ERR_OK; first += slice_rows) {
        const uint64_t left = data->view.rows - first;
        buf_clear(&slice);
        states_reset(&encoder->states);
        e = rows_put(encoder, data, plan, down, first, first + (left < slice_rows ? left : slice_rows), &slice);
        if (e == ERR_OK)
            e = plan_number_write(out, slice.len);
        if (e == ERR_OK)
            e = buf_add(out, slice.data, slice.len);
    }
    return e;
}

enum err tensor_encode(struct tensor_encoder *encoder, const struct tensor_data *data, const struct plan *plan,
                       const int32_t *down, struct buf *out, size_t *ret_fixed)
{
    const size_t begin = out->len;
    const uint64_t slice_rows = states_slice_rows(&data->view, encoder->states.effort);
    struct residual *factors = NULL;
    enum err e = ERR_OK;
    range_encoder_start(&encoder->range);
    encoder->lines = 0;
    if (plan->rank != 0)
        e = states_begin_factors(&encoder->states, plan->rank, &factors, NULL);
    if (e == ERR_OK && plan->rank != 0)
        e = across_put(encoder, factors, plan, data->view.cols, out);
    if (ret_fixed != NULL)
        *ret_fixed = out->len - begin + encoder->range.coded.len + encoder->range.raw.len;
    if (e != ERR_OK)
        return e;
    return slice_rows < data->view.rows ? slices_put(encoder, data, plan, down, slice_rows, out)
                                        : rows_put(encoder, data, plan, down, 0, data->view.rows, out);
}
