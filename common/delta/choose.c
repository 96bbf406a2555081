#include "common/delta/choose.h"

#include "common/base/cleanup.h"
#include "common/delta/packed.h"
#include "common/delta/search.h"

#include <math.h>
#include <stdlib.h>

static size_t data_bytes(const struct tensor_data *data)
{
    return (size_t)(data->view.rows * data->view.cols) * tensor_type_size(data->view.type);
}

/* Parts of a cost. */
#define CLEARLY 0.01
#define NEARLY 0.06
#define LITERAL_WORTH 0.4 /* of the bits of a number: a tensor that costs less is near the old one */

enum { DECAY_ELEMENTS_MIN = 1024 };

void candidate_free(struct candidate *candidate)
{
    free(candidate->across);
    free(candidate->down);
    *candidate = (struct candidate){};
}

enum err search_offer(struct search *search, struct candidate *candidate)
{
    enum err e = sample_cost(&search->sample, &candidate->plan, candidate->down, search->effort, &candidate->cost);
    if (e != ERR_OK || candidate->cost >= search->best.cost) {
        candidate_free(candidate);
        return e;
    }
    candidate_free(&search->best);
    search->best = *candidate;
    return ERR_OK;
}

static enum err plan_offer(struct search *search, const struct plan *plan)
{
    return search_offer(search, &(struct candidate){.plan = *plan});
}

/* Quantized integers: by the ratio of their scales. */
static enum err rescaled_offer(struct search *search)
{
    const struct tensor_data *data = search->data;
    if (data->old_scales == NULL || data->new_scales == NULL)
        return ERR_OK;
    bool any = false;
    const uint64_t scales = data->scale_count == 1 ? 1 : data->view.rows;
    for (uint64_t i = 0; i < scales; i++)
        any |= tensor_row_ratio(data, i) != 1;
    return any ? plan_offer(search, &(struct plan){.base = BASE_OLD, .rescaled = true}) : ERR_OK;
}

/* Something that is only taken when it clearly pays: an offer must not win by the noise of an estimate. */
static enum err plan_offer_clear(struct search *search, const struct plan *plan)
{
    struct candidate was = search->best;
    search->best = (struct candidate){.cost = was.cost * (1 - CLEARLY)};
    const double limit = search->best.cost;
    enum err e = plan_offer(search, plan);
    if (e == ERR_OK && search->best.cost < limit)
        candidate_free(&was);
    else
        search->best = was;
    return e;
}

static enum err floats_offer(struct search *search)
{
    struct plan plan = {};
    enum err e = ERR_OK;
    if (search_grid(search, &plan))
        e = plan_offer_clear(search, &plan);
    if (e == ERR_OK && search->data->view.type == TENSOR_F32 && search->best.plan.base == BASE_OLD &&
        search->data->view.rows * search->data->view.cols >= DECAY_ELEMENTS_MIN && search_decay(search, &plan))
        e = plan_offer_clear(search, &plan);
    if (e == ERR_OK && search->best.plan.base == BASE_OLD)
        e = search_row_scale(search);
    return e;
}

/* Updates of low rank are looked for in rescaled integers when these are about as good as the plain ones: without the
 * steps of the scales the rest is simpler. */
static enum err integers_offer(struct search *search)
{
    struct candidate plain = search->best;
    search->best = (struct candidate){.cost = plain.cost * (1 + NEARLY)};
    enum err e = rescaled_offer(search);
    if (!search->best.plan.rescaled) {
        search->best = plain;
        return e == ERR_OK && plain.plan.base != BASE_NOTHING ? search_low_rank(search) : e;
    }
    if (e == ERR_OK)
        e = search_low_rank(search);
    if (plain.cost < search->best.cost) {
        candidate_free(&search->best);
        search->best = plain;
    }
    return e;
}

/* Finds the best plan for a tensor that has an old one and is not the same. */
static enum err search_run(struct search *search)
{
    const enum tensor_type type = search->data->view.type;
    enum err e = plan_offer(search, &(struct plan){.base = BASE_OLD});
    const double bits = 8 * search->best.cost / (double)(search->data->view.rows * search->data->view.cols);
    if (e == ERR_OK && bits > LITERAL_WORTH * numbers_of(type).width)
        e = plan_offer(search, &(struct plan){.base = BASE_NOTHING});
    if (e == ERR_OK && numbers_are_floats(type))
        e = floats_offer(search);
    if (e == ERR_OK && (type == TENSOR_I8 || type == TENSOR_U8))
        e = integers_offer(search);
    if (e == ERR_OK && numbers_are_floats(type) && search->best.plan.base != BASE_NOTHING)
        e = search_low_rank(search);
    return e;
}

/* Whether zstd does better on the sample than what was found. */
static enum err packed_pays(const struct search *search, bool *ret_pays)
{
    const struct tensor_view *view = &search->sample.data.view;
    cleanup_buf struct buf out = BUF_INIT(SIZE_MAX / 2);
    const size_t len = (size_t)(view->rows * view->cols) * tensor_type_size(view->type);
    enum err e = packed_write(&out, search->sample.data.new, len, DELTA_FAST);
    if (e == ERR_OK)
        *ret_pays = (double)out.len / search->sample.share < search->best.cost;
    return e;
}

static enum err found_encode(struct tensor_encoder *encoder, struct search *search, struct buf *out,
                             enum method *ret_method)
{
    const struct tensor_data *data = search->data;
    const struct plan *plan = &search->best.plan;
    const bool wide = data->view.type == TENSOR_I16 || data->view.type == TENSOR_I32 || data->view.type == TENSOR_I64;
    bool packed = false;
    enum err e = plan->base == BASE_NOTHING || wide ? packed_pays(search, &packed) : ERR_OK;
    *ret_method = packed ? METHOD_PACKED : plan_method(plan);
    if (e == ERR_OK)
        e = plan_write(out, *ret_method, plan);
    if (e != ERR_OK)
        return e;
    if (packed)
        return packed_write(out, data->new, data_bytes(data), search->effort);
    return tensor_encode(encoder, data, plan, search->best.down, out, NULL);
}

enum err choose_and_encode(struct tensor_encoder *encoder, const struct tensor_data *data, struct buf *out,
                           enum method *ret_method)
{
    if (data->old != NULL && memcmp(data->old, data->new, data_bytes(data)) == 0) {
        *ret_method = METHOD_SAME;
        return plan_write(out, METHOD_SAME, NULL);
    }
    struct search search = {.data = data, .effort = encoder->states.effort, .best = {.cost = INFINITY}};
    enum err e = sample_make(data, sample_size(&data->view, search.effort), &search.sample);
    if (e == ERR_OK && data->old != NULL)
        e = search_run(&search);
    else if (e == ERR_OK)
        e = plan_offer(&search, &(struct plan){.base = BASE_NOTHING});
    if (e == ERR_OK)
        e = found_encode(encoder, &search, out, ret_method);
    sample_free(&search.sample);
    candidate_free(&search.best);
    return e;
}
