/* Rows that were multiplied by a number each: what becomes of a convolution into which a moved normalization was
 * folded.
 */

#include "common/base/cleanup.h"
#include "common/delta/search.h"

#include <math.h>
#include <stdlib.h>

enum { COLUMNS_MIN = 8 };

/* Sums over one row, or over all. */
struct sums {
    double old_old, old_new, moved; /* Σ old², Σ old·new, Σ (new - old)² */
    double live, count;             /* elements that are not the same, and all */
};

static void row_sum(const struct tensor_data *data, uint64_t row, struct predict_scratch *scratch, struct sums *sums)
{
    const enum tensor_type type = data->view.type;
    const size_t size = tensor_type_size(type);
    for (uint64_t j = 0; j < data->view.cols; j += RESIDUAL_LINE_MAX) {
        const uint64_t left = data->view.cols - j;
        const size_t count = left < RESIDUAL_LINE_MAX ? (size_t)left : RESIDUAL_LINE_MAX;
        const size_t at = (row * data->view.cols + j) * size;
        numbers_load(type, data->old + at, count, scratch->rounded);
        numbers_values(type, scratch->rounded, count, scratch->values);
        numbers_load(type, data->new + at, count, scratch->rounded);
        numbers_values(type, scratch->rounded, count, scratch->update);
        for (size_t i = 0; i < count; i++) {
            const double old = scratch->values[i], new = scratch->update[i];
            sums->old_old += old * old;
            sums->old_new += old * new;
            sums->moved += (new - old) * (new - old);
            sums->live += new != old;
        }
    }
    sums->count += (double)data->view.cols;
}

/* Scales as integers; coarse enough that what they leave over hides their steps. */
static enum err scales_offer(struct search *search, const double *scales, const struct sums *all, double left)
{
    int exponent = 0;
    (void)frexp(0.5 * sqrt(left / all->old_old), &exponent);
    exponent = exponent < -23 ? -23 : exponent > -4 ? -4 : exponent;
    const uint64_t rows = search->data->view.rows;
    struct candidate candidate = {.plan = {.base = BASE_OLD, .row_scale = true, .scale_exponent = exponent},
                                  .down = calloc(rows, sizeof(int32_t))};
    if (candidate.down == NULL)
        return ERR_NO_MEMORY;
    for (uint64_t i = 0; i < rows; i++)
        candidate.down[i] = (int32_t)rint(fmin(100, fmax(-100, scales[i] - 1)) * predict_power(-exponent));
    return search_offer(search, &candidate);
}

enum err search_row_scale(struct search *search)
{
    const struct tensor_data *data = search->data;
    if (data->view.rows < 2 || data->view.cols < COLUMNS_MIN)
        return ERR_OK;
    cleanup_free struct predict_scratch *scratch = malloc(sizeof *scratch);
    cleanup_free double *scales = calloc(data->view.rows, sizeof *scales);
    if (scratch == NULL || scales == NULL)
        return ERR_NO_MEMORY;
    struct sums all = {};
    double left = 0;
    for (uint64_t i = 0; i < data->view.rows; i++) {
        struct sums row = {};
        row_sum(data, i, scratch, &row);
        const double scale = row.old_old > 0 ? row.old_new / row.old_old : 1;
        scales[i] = scale > -100 && scale < 100 ? scale : 1;
        /* Σ (new - scale·old)² by what is known of new - old */
        left += row.moved - (scales[i] - 1) * (scales[i] - 1) * row.old_old;
        all.old_old += row.old_old;
        all.moved += row.moved;
        all.live += row.live;
        all.count += row.count;
    }
    /* elements that stayed the same would be lost, and a small gain does not pay for the scales */
    const bool worth = all.live > 0.9 * all.count && left > 0 && left < 0.95 * all.moved && all.moved < 1e150;
    return worth && all.old_old > 0 ? scales_offer(search, scales, &all, left) : ERR_OK;
}
