#include "common/delta/sample.h"

#include "common/base/cleanup.h"

#include <math.h>
#include <stdlib.h>

enum { RUNS = 8 }; /* stretches of rows, spread over the tensor */

size_t sample_size(const struct tensor_view *view, enum delta_effort effort)
{
    const uint64_t all = view->rows * view->cols;
    const uint64_t part = effort == DELTA_BEST ? all : all / 16;
    const uint64_t least = effort == DELTA_BEST ? 200000 : 8000, most = effort == DELTA_BEST ? 1U << 20 : 48000;
    return (size_t)(part < least ? least : part > most ? most : part);
}

static void copy(uint8_t *to, const uint8_t *from, size_t unit, uint64_t count, const uint64_t *rows)
{
    for (uint64_t i = 0; i < count; i++)
        memcpy(to + i * unit, from + rows[i] * unit, unit);
}

/* One long row is cut into short ones, as if they were rows of a tensor. */
static void one_row_split(struct tensor_view *view)
{
    enum { PIECE = 1024 };
    if (view->rows == 1 && view->cols > (uint64_t)PIECE * RUNS) {
        view->rows = view->cols / PIECE;
        view->cols = PIECE;
    }
}

static void rows_pick(struct sample *sample, uint64_t all)
{
    const uint64_t count = sample->data.view.rows, run = (count + RUNS - 1) / RUNS;
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t begin = (i / run) * (all - run) / (RUNS - 1);
        sample->rows[i] = begin + i % run < all ? begin + i % run : all - 1;
    }
}

enum err sample_make(const struct tensor_data *data, size_t elements, struct sample *ret_sample)
{
    struct sample sample = {.data = *data, .share = 1};
    struct tensor_view *view = &sample.data.view;
    const uint64_t total = view->rows * view->cols;
    const size_t size = tensor_type_size(view->type);
    if (total <= elements) {
        *ret_sample = sample;
        return ERR_OK;
    }
    one_row_split(view);
    const uint64_t all = view->rows;
    view->rows = elements / view->cols < RUNS ? RUNS : elements / view->cols;
    if (view->rows >= all) {
        sample.data.view = data->view;
        *ret_sample = sample;
        return ERR_OK;
    }
    const size_t unit = (size_t)view->cols * size, scale = sizeof(float);
    sample.rows = calloc(view->rows, sizeof *sample.rows);
    sample.bytes = malloc((size_t)view->rows * (2 * unit + 2 * scale));
    if (sample.rows == NULL || sample.bytes == NULL) {
        sample_free(&sample);
        return ERR_NO_MEMORY;
    }
    rows_pick(&sample, all);
    uint8_t *at = sample.bytes;
    copy(at, data->new, unit, view->rows, sample.rows);
    sample.data.new = at;
    at += view->rows * unit;
    if (data->old != NULL) {
        copy(at, data->old, unit, view->rows, sample.rows);
        sample.data.old = at;
        at += view->rows * unit;
    }
    if (data->old_scales != NULL && data->new_scales != NULL && data->scale_count > 1) {
        copy(at, data->old_scales, scale, view->rows, sample.rows);
        sample.data.old_scales = at;
        copy(at + view->rows * scale, data->new_scales, scale, view->rows, sample.rows);
        sample.data.new_scales = at + view->rows * scale;
        sample.data.scale_count = view->rows;
    }
    sample.share = (double)(view->rows * view->cols) / (double)total;
    *ret_sample = sample;
    return ERR_OK;
}

void sample_free(struct sample *sample)
{
    free(sample->rows);
    free(sample->bytes);
    *sample = (struct sample){};
}

/* The factors of the sampled rows. */
static enum err down_pick(const struct sample *sample, unsigned factors, const int32_t *down, int32_t **ret_picked)
{
    const size_t unit = factors * sizeof *down;
    int32_t *picked = malloc(sample->data.view.rows * unit);
    if (picked == NULL)
        return ERR_NO_MEMORY;
    copy((uint8_t *)picked, (const uint8_t *)down, unit, sample->data.view.rows, sample->rows);
    *ret_picked = picked;
    return ERR_OK;
}

enum err sample_cost(const struct sample *sample, const struct plan *plan, const int32_t *down,
                     enum delta_effort effort, double *ret_bytes)
{
    const unsigned factors = predict_row_factors(plan);
    cleanup_free int32_t *picked = NULL;
    if (factors != 0 && sample->rows != NULL) {
        enum err e = down_pick(sample, factors, down, &picked);
        if (e != ERR_OK)
            return e;
        down = picked;
    }
    struct tensor_encoder *encoder = tensor_encoder_new(effort);
    if (encoder == NULL)
        return ERR_NO_MEMORY;
    cleanup_buf struct buf out = BUF_INIT(SIZE_MAX / 2);
    size_t fixed = 0;
    enum err e = tensor_encode(encoder, &sample->data, plan, down, &out, &fixed);
    tensor_encoder_free(encoder);
    if (e == ERR_OK)
        *ret_bytes = (double)fixed + (double)(out.len - fixed) / sample->share;
    else if (e == ERR_INVALID)
        *ret_bytes = INFINITY;
    return e == ERR_INVALID ? ERR_OK : e;
}
