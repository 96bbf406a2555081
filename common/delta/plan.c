#include "common/delta/plan.h"

#include <math.h>

enum { SHORT_ROW = 8, HAS_ROW_SCALE = 1, HAS_RANK = 2, HAS_RESCALE = 4, HAS_BESIDE = 8, FLAGS_ALL = 15 };

static const char *const names[METHOD_COUNT] = {
    [METHOD_SAME] = "same",           [METHOD_LITERAL] = "literal",
    [METHOD_PACKED] = "packed",       [METHOD_RESIDUAL] = "residual",
    [METHOD_ROW_SCALE] = "row scale", [METHOD_LOW_RANK] = "low rank",
    [METHOD_GRID] = "grid",           [METHOD_GRID_LOW_RANK] = "grid, low rank",
    [METHOD_RESCALED] = "rescaled",   [METHOD_DECAY] = "weight decay",
};

const char *tensors_method_name(int method)
{
    return method >= 0 && method < METHOD_COUNT ? names[method] : NULL;
}

struct tensor_view tensor_view_of(const struct tensor_pair *pair)
{
    struct tensor_view view = {.type = pair->type, .rows = pair->rows, .cols = pair->cols, .kernel = pair->kernel};
    const bool scaled = pair->old_scales >= 0 && pair->scale_count > 1;
    if (view.cols < SHORT_ROW && !scaled)
        view = (struct tensor_view){.type = pair->type, .rows = 1, .cols = pair->rows * pair->cols, .kernel = 1};
    if (view.kernel == 0 || view.cols % view.kernel != 0 || view.kernel > RESIDUAL_COLUMNS_MAX / 2)
        view.kernel = 1;
    return view;
}

enum method plan_method(const struct plan *plan)
{
    if (plan->base == BASE_GRID)
        return plan->rank != 0 ? METHOD_GRID_LOW_RANK : METHOD_GRID;
    if (plan->base == BASE_DECAY)
        return METHOD_DECAY;
    if (plan->base == BASE_NOTHING)
        return METHOD_LITERAL;
    if (plan->rank != 0)
        return METHOD_LOW_RANK;
    if (plan->row_scale)
        return METHOD_ROW_SCALE;
    return plan->rescaled ? METHOD_RESCALED : METHOD_RESIDUAL;
}

enum err plan_corrupt(struct err_info *info, const char *what)
{
    enum err e = err_code(info, ERR_CORRUPT, "delta_invalid", "The delta is damaged: %s.", what);
    err_next(info, "Get it again, or the full file.");
    return e;
}

enum err plan_number_write(struct buf *out, uint64_t number)
{
    uint8_t bytes[10];
    size_t len = 0;
    do {
        bytes[len] = (uint8_t)((number & 127) | (number > 127 ? 128 : 0));
        number >>= 7;
        len++;
    } while (number != 0);
    return buf_add(out, bytes, len);
}

enum err plan_number_read(struct coded *coded, uint64_t max, uint64_t *ret_number, struct err_info *info)
{
    uint64_t number = 0;
    for (unsigned shift = 0; shift < 63; shift += 7) {
        uint8_t byte;
        enum err e = coded_read(coded, &byte, 1);
        if (e != ERR_OK)
            return e;
        number |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) {
            if (number > max)
                return plan_corrupt(info, "a number in it is too large");
            *ret_number = number;
            return ERR_OK;
        }
    }
    return plan_corrupt(info, "a number in it does not end");
}

/* Small numbers of either sign: 0, -1, 1, -2, … */
static enum err signed_write(struct buf *out, int number)
{
    return plan_number_write(out, number < 0 ? (uint64_t)(-(int64_t)number) * 2 - 1 : (uint64_t)number * 2);
}

static enum err signed_read(struct coded *coded, int max, int *ret_number, struct err_info *info)
{
    uint64_t number = 0;
    enum err e = plan_number_read(coded, (uint64_t)max * 2, &number, info);
    if (e == ERR_OK)
        *ret_number = (number & 1) != 0 ? -(int)(number / 2) - 1 : (int)(number / 2);
    return e;
}

static enum err base_write(struct buf *out, const struct plan *plan)
{
    enum err e = ERR_OK;
    if (plan->base == BASE_GRID)
        e = signed_write(out, plan->grid_exponent);
    if (plan->base == BASE_DECAY) {
        e = buf_add(out, &plan->decay, sizeof plan->decay);
        if (e == ERR_OK)
            e = plan_number_write(out, plan->decay_steps);
    }
    if (e == ERR_OK && plan->rescaled)
        e = signed_write(out, (int)(plan->offset * 16));
    return e;
}

enum err plan_write(struct buf *out, enum method method, const struct plan *plan)
{
    enum err e = plan_number_write(out, method);
    if (e != ERR_OK || method == METHOD_SAME || method == METHOD_PACKED)
        return e;
    const uint8_t head[2] = {(uint8_t)plan->base,
                             (uint8_t)((plan->row_scale ? HAS_ROW_SCALE : 0) | (plan->rank != 0 ? HAS_RANK : 0) |
                                       (plan->rescaled ? HAS_RESCALE : 0) | (plan->beside ? HAS_BESIDE : 0))};
    e = buf_add(out, head, sizeof head);
    if (e == ERR_OK)
        e = base_write(out, plan);
    if (e == ERR_OK && plan->row_scale)
        e = signed_write(out, plan->scale_exponent);
    if (e == ERR_OK && plan->rank != 0)
        e = plan_number_write(out, plan->rank);
    if (e == ERR_OK && plan->rank != 0)
        e = buf_add(out, &plan->typical, sizeof plan->typical);
    for (unsigned i = 0; i < plan->rank && e == ERR_OK; i++)
        e = signed_write(out, plan->exponents[i]);
    return e;
}

static enum err base_read(struct coded *coded, struct plan *plan, struct err_info *info)
{
    enum err e = ERR_OK;
    if (plan->base == BASE_GRID)
        e = signed_read(coded, PREDICT_EXPONENT_MAX, &plan->grid_exponent, info);
    if (plan->base == BASE_DECAY) {
        uint64_t steps = 0;
        e = coded_read(coded, &plan->decay, sizeof plan->decay);
        if (e == ERR_OK)
            e = plan_number_read(coded, PREDICT_STEPS_MAX, &steps, info);
        if (e == ERR_OK && !(plan->decay > 0 && plan->decay <= 1))
            e = plan_corrupt(info, "its weight decay is none");
        plan->decay_steps = (uint32_t)steps;
    }
    if (e == ERR_OK && plan->rescaled) {
        int offset = 0;
        e = signed_read(coded, 512 * 16, &offset, info);
        plan->offset = offset / 16.0;
    }
    return e;
}

static enum err rank_read(struct coded *coded, const struct tensor_view *view, struct plan *plan, struct err_info *info)
{
    uint64_t rank = 0;
    enum err e = plan_number_read(coded, PREDICT_RANK_MAX, &rank, info);
    if (e == ERR_OK && (rank == 0 || view->cols > PLAN_ACROSS_BYTES_MAX / sizeof(float) / rank))
        e = plan_corrupt(info, "its factors are too many");
    plan->rank = (unsigned)rank;
    if (e == ERR_OK)
        e = coded_read(coded, &plan->typical, sizeof plan->typical);
    if (e == ERR_OK && !(plan->typical > 1e-30F && plan->typical < 1e30F))
        e = plan_corrupt(info, "its update has no size");
    for (unsigned i = 0; i < rank && e == ERR_OK; i++)
        e = signed_read(coded, PREDICT_EXPONENT_MAX, &plan->exponents[i], info);
    return e;
}

/* Whether such a plan can be for such a tensor. */
static bool plan_fits(const struct plan *plan, const struct tensor_pair *pair)
{
    const bool floats = numbers_are_floats(pair->type);
    const bool bytes = pair->type == TENSOR_I8 || pair->type == TENSOR_U8;
    if (plan->base != BASE_NOTHING && pair->old_offset < 0)
        return false;
    if (plan->rescaled && (!bytes || plan->base != BASE_OLD))
        return false;
    if (plan->beside && (!floats || plan->rank == 0 || plan->base == BASE_GRID))
        return false;
    if (plan->base == BASE_GRID)
        return floats && !plan->row_scale;
    if (plan->base == BASE_DECAY)
        return pair->type == TENSOR_F32 && !plan->row_scale;
    if (plan->base == BASE_NOTHING)
        return !plan->row_scale && plan->rank == 0;
    return (floats || !plan->row_scale) && (floats || bytes || plan->rank == 0);
}

enum err plan_read(struct coded *coded, const struct tensor_pair *pair, enum method *ret_method, struct plan *ret_plan,
                   struct err_info *info)
{
    uint64_t method = 0;
    enum err e = plan_number_read(coded, METHOD_COUNT - 1, &method, info);
    if (e != ERR_OK)
        return e;
    *ret_method = (enum method)method;
    struct plan plan = {};
    if (method == METHOD_SAME && pair->old_offset < 0)
        return plan_corrupt(info, "it wants the bytes of an old tensor that is not there");
    if (method == METHOD_SAME || method == METHOD_PACKED) {
        *ret_plan = plan;
        return ERR_OK;
    }
    uint8_t head[2];
    e = coded_read(coded, head, sizeof head);
    if (e != ERR_OK)
        return e;
    if (head[0] > BASE_DECAY || (head[1] & ~FLAGS_ALL) != 0)
        return plan_corrupt(info, "a tensor is made in a way that is not known");
    plan.base = (enum base)head[0];
    plan.row_scale = (head[1] & HAS_ROW_SCALE) != 0;
    plan.rescaled = (head[1] & HAS_RESCALE) != 0;
    plan.beside = (head[1] & HAS_BESIDE) != 0;
    const struct tensor_view view = tensor_view_of(pair);
    e = base_read(coded, &plan, info);
    if (e == ERR_OK && plan.row_scale)
        e = signed_read(coded, PREDICT_EXPONENT_MAX, &plan.scale_exponent, info);
    if (e == ERR_OK && (head[1] & HAS_RANK) != 0)
        e = rank_read(coded, &view, &plan, info);
    if (e != ERR_OK)
        return e;
    if (!plan_fits(&plan, pair))
        return plan_corrupt(info, "a tensor is made in a way that does not suit it");
    *ret_plan = plan;
    return ERR_OK;
}
