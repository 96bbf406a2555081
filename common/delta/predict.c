#include "common/delta/predict.h"

#include <math.h>
#include <string.h>

double predict_power(int exponent)
{
    const uint64_t bits = (uint64_t)(exponent + 1023) << 52;
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

struct residual_numbers predict_numbers(const struct plan *plan, enum tensor_type type)
{
    if (plan->base == BASE_GRID)
        return (struct residual_numbers){.width = 24};
    return numbers_of(type);
}

unsigned predict_row_factors(const struct plan *plan)
{
    return plan->row_scale + plan->rank;
}

void predict_row(const struct plan *plan, const int64_t *factors, struct plan_row *ret_row)
{
    ret_row->scale = 1;
    if (plan->row_scale)
        ret_row->scale += (double)*factors++ * predict_power(plan->scale_exponent);
    for (unsigned i = 0; i < plan->rank; i++)
        ret_row->down[i] = (double)factors[i] * predict_power(plan->exponents[i]);
}

/* Σ of the components, in their order. */
static void update_line(const struct plan *plan, const struct plan_row *row, size_t cols, size_t column, size_t count,
                        double *ret_update)
{
    memset(ret_update, 0, count * sizeof *ret_update);
    for (unsigned i = 0; i < plan->rank; i++) {
        const double down = row->down[i];
        const float *across = plan->across + i * cols + column;
        if (down == 0)
            continue;
        for (size_t j = 0; j < count; j++)
            ret_update[j] += down * (double)across[j];
    }
}

/* All steps of a whole line side by side: they depend on each other, the elements do not. */
static void decay_line(const struct plan *plan, size_t count, const int64_t *old, struct predict_scratch *scratch,
                       int64_t *ret_decayed)
{
    float values[RESIDUAL_LINE_MAX];
    numbers_values(TENSOR_F32, old, count, scratch->values);
    for (size_t j = 0; j < count; j++)
        values[j] = (float)scratch->values[j];
    for (uint32_t step = 0; step < plan->decay_steps; step++)
        for (size_t j = 0; j < count; j++)
            values[j] *= plan->decay;
    for (size_t j = 0; j < count; j++)
        scratch->values[j] = (double)values[j];
    numbers_round(TENSOR_F32, scratch->values, count, ret_decayed);
    const struct residual_numbers numbers = numbers_of(TENSOR_F32);
    for (size_t j = 0; j < count; j++)
        if (numbers_is_special(numbers, old[j]))
            ret_decayed[j] = old[j];
}

/* Floats that move: old * scale + update. Numbers that are none stay what they were. */
static void float_line(const struct plan *plan, const struct plan_row *row, enum tensor_type type, size_t count,
                       const int64_t *old, struct predict_scratch *scratch, int64_t *ret_predicted)
{
    if (plan->base == BASE_DECAY)
        decay_line(plan, count, old, scratch, ret_predicted);
    else
        memcpy(ret_predicted, old, count * sizeof *old);
    if (!plan->row_scale && plan->rank == 0)
        return;
    numbers_values(type, ret_predicted, count, scratch->values);
    for (size_t j = 0; j < count; j++)
        scratch->values[j] = scratch->values[j] * row->scale + (plan->rank != 0 ? scratch->update[j] : 0);
    numbers_round(type, scratch->values, count, ret_predicted);
    const struct residual_numbers numbers = numbers_of(type);
    for (size_t j = 0; j < count; j++)
        if (numbers_is_special(numbers, old[j]))
            ret_predicted[j] = old[j];
}

/* Where the update pushes, and how hard: steps of a tenth of the typical one. Updates of optimizers have an upper end,
 * and what is near it is surer. */
static void push_line(const struct plan *plan, size_t count, const double *update, uint8_t *ret_hint)
{
    const double unit = 14 / (double)plan->typical;
    for (size_t j = 0; j < count; j++) {
        const double push = update[j] * unit;
        const int steps = (int)(push < -31 ? -31 : push > 31 ? 31 : push);
        ret_hint[j] = (uint8_t)(32 + steps);
    }
}

/* Small integers: the nearest one, and as a hint on which side of it the exact value lies, in 1/16, and its size: how
 * many of the limits it reaches. */
static void integer_line(enum tensor_type type, size_t count, const double *exact, const double limits[3],
                         int64_t *ret_predicted, uint8_t *ret_hint)
{
    const struct numbers_bounds bounds = numbers_bounds_of(type);
    for (size_t j = 0; j < count; j++) {
        const double nearest = numbers_nearest(bounds, exact[j]);
        const double beside = (exact[j] - nearest + 0.5) * 16;
        const double side = beside > 0 ? beside < 15 ? beside : 15 : 0;
        const double size = fabs(nearest);
        const int class = (size >= limits[0]) + (size >= limits[1]) + (size >= limits[2]);
        ret_predicted[j] = (int32_t)nearest;
        ret_hint[j] = (uint8_t)((int32_t)side * 4 + class);
    }
}

static bool grid_line(const struct plan *plan, enum tensor_type type, size_t count, const int64_t *old,
                      struct predict_scratch *scratch, int64_t *ret_predicted, uint8_t *ret_hint)
{
    if (plan->rank != 0) {
        integer_line(TENSOR_I32, count, scratch->update, (const double[]){1, 2, 3}, ret_predicted, ret_hint);
        return true;
    }
    memset(ret_predicted, 0, count * sizeof *ret_predicted);
    const struct residual_numbers numbers = numbers_of(type);
    for (size_t j = 0; j < count; j++) {
        const int exponent = (int)((uint64_t)(old[j] ^ (old[j] >> 63)) >> numbers.mantissa);
        const int below = numbers.bias + 2 - exponent;
        ret_hint[j] = (uint8_t)(below < 0 ? 0 : below > RESIDUAL_HINT_MAX ? RESIDUAL_HINT_MAX : below);
    }
    return true;
}

bool predict_line(const struct plan *plan, const struct plan_row *row, enum tensor_type type, size_t cols,
                  size_t column, size_t count, const int64_t *old, struct predict_scratch *scratch,
                  int64_t *ret_predicted, uint8_t *ret_hint)
{
    if (plan->rank != 0)
        update_line(plan, row, cols, column, count, scratch->update);
    switch (plan->base) {
    case BASE_NOTHING:
        memset(ret_predicted, 0, count * sizeof *ret_predicted);
        return false;
    case BASE_GRID:
        return grid_line(plan, type, count, old, scratch, ret_predicted, ret_hint);
    case BASE_DECAY:
    case BASE_OLD:
        break;
    }
    if (numbers_are_floats(type)) {
        float_line(plan, row, type, count, old, scratch, ret_predicted);
        if (plan->rank != 0)
            push_line(plan, count, scratch->update, ret_hint);
        return plan->rank != 0;
    }
    if (type != TENSOR_I8 && type != TENSOR_U8) {
        memcpy(ret_predicted, old, count * sizeof *old);
        return false;
    }
    for (size_t j = 0; j < count; j++)
        scratch->values[j] = (int32_t)old[j] * row->ratio + plan->offset + (plan->rank != 0 ? scratch->update[j] : 0);
    integer_line(type, count, scratch->values, (const double[]){8, 32, 127}, ret_predicted, ret_hint);
    return true;
}

/* The numbers that q steps of a grid lead to. */
static void grid_apply(const struct plan *plan, enum tensor_type type, size_t count, const int64_t *old,
                       const int64_t *steps, struct predict_scratch *scratch, int64_t *ret_new)
{
    const double unit = predict_power(plan->grid_exponent);
    numbers_values(type, old, count, scratch->values);
    for (size_t j = 0; j < count; j++)
        scratch->values[j] += (double)steps[j] * unit;
    numbers_round(type, scratch->values, count, scratch->rounded);
    for (size_t j = 0; j < count; j++)
        ret_new[j] = steps[j] == 0 ? old[j] : scratch->rounded[j];
}

void predict_finish(const struct plan *plan, enum tensor_type type, size_t count, const int64_t *old,
                    struct predict_scratch *scratch, int64_t *coded)
{
    if (plan->base == BASE_GRID)
        grid_apply(plan, type, count, old, coded, scratch, coded);
}

bool predict_target(const struct plan *plan, enum tensor_type type, size_t count, const int64_t *old,
                    const int64_t *new, struct predict_scratch *scratch, int64_t *ret_coded)
{
    if (plan->base != BASE_GRID) {
        memcpy(ret_coded, new, count * sizeof *new);
        return true;
    }
    const double unit = predict_power(-plan->grid_exponent);
    numbers_values(type, new, count, scratch->values);
    numbers_values(type, old, count, scratch->update);
    for (size_t j = 0; j < count; j++) {
        const double steps = old[j] == new[j] ? 0 : rint((scratch->values[j] - scratch->update[j]) * unit);
        if (!(fabs(steps) <= PREDICT_GRID_MAX))
            return false;
        ret_coded[j] = (int64_t)steps;
    }
    grid_apply(plan, type, count, old, ret_coded, scratch, scratch->check);
    return memcmp(scratch->check, new, count * sizeof *new) == 0;
}
