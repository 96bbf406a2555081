#include "common/delta/predict_lines.h"

double predict_power(int exponent)
{
    return numbers_power(exponent);
}

struct residual_numbers predict_numbers(const struct plan *plan, enum tensor_type type)
{
    if (plan->base == BASE_GRID)
        return (struct residual_numbers){.width = 24};
    struct residual_numbers numbers = numbers_of(type);
    numbers.sure = plan->beside;
    return numbers;
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

/* What is not on a grid. Returns whether there are hints. */
ALWAYS_INLINE bool moved_piece(const struct plan *plan, const struct plan_row *row, enum tensor_type type, size_t count,
                               const int64_t *old, struct predict_scratch *scratch, double *values,
                               const double *update, int64_t *ret_predicted, uint8_t *ret_hint)
{
    if (plan->base == BASE_DECAY) {
        decay_line(plan->decay, plan->decay_steps, count, old, scratch->rounded);
        old = scratch->rounded;
    }
    if (type == TENSOR_I8 || type == TENSOR_U8) {
        integers_move(row->ratio, plan->offset, count, old, update, values);
        integers_line(numbers_bounds_of(type), (const int32_t[]){8, 32, 127}, count, values, ret_predicted, ret_hint);
        return true;
    }
    if (!numbers_are_floats(type) || (!plan->row_scale && plan->rank == 0)) {
        memcpy(ret_predicted, old, count * sizeof *old);
        return false;
    }
    floats_line(type, row->scale, count, old, update, ret_predicted);
    if (plan->beside)
        beside_line(numbers_of(type), plan, row->scale, count, old, update, ret_predicted, ret_hint);
    else if (plan->rank != 0)
        push_line(plan, count, update, ret_hint);
    return plan->rank != 0;
}

/* At most LINES_PIECE elements. */
ALWAYS_INLINE bool line_piece(const struct plan *plan, const struct plan_row *row, enum tensor_type type, size_t count,
                              const int64_t *old, struct predict_scratch *scratch, double *values, const double *update,
                              int64_t *ret_predicted, uint8_t *ret_hint)
{
    switch (plan->base) {
    case BASE_NOTHING:
        memset(ret_predicted, 0, count * sizeof *ret_predicted);
        return false;
    case BASE_GRID:
        if (plan->rank != 0) {
            integers_line(numbers_bounds_of(TENSOR_I32), (const int32_t[]){1, 2, 3}, count, update, ret_predicted,
                          ret_hint);
        } else {
            memset(ret_predicted, 0, count * sizeof *ret_predicted);
            exponents_line(numbers_of(type), count, old, ret_hint);
        }
        return true;
    case BASE_DECAY:
    case BASE_OLD:
        break;
    }
    return moved_piece(plan, row, type, count, old, scratch, values, update, ret_predicted, ret_hint);
}

ALWAYS_INLINE bool line_pieces(const struct plan *plan, const struct plan_row *row, enum tensor_type type, size_t cols,
                               size_t column, size_t count, const int64_t *old, struct predict_scratch *scratch,
                               int64_t *ret_predicted, uint8_t *ret_hint)
{
    bool hinted = false;
    for (size_t at = 0; at < count; at += LINES_PIECE) {
        const size_t part = count - at < LINES_PIECE ? count - at : LINES_PIECE;
        const double *update = update_line(plan, row, cols, column + at, part, scratch->update);
        hinted = line_piece(plan, row, type, part, old + at, scratch, scratch->values + at, update, ret_predicted + at,
                            ret_hint + at);
    }
    return hinted;
}

ALWAYS_INLINE void finish_pieces(const struct plan *plan, enum tensor_type type, size_t count, const int64_t *old,
                                 int64_t *coded)
{
    if (plan->base == BASE_GRID)
        steps_line(type, predict_power(plan->grid_exponent), count, old, coded);
}

#define LINE_PARAMETERS                                                                                                \
    const struct plan *plan, const struct plan_row *row, enum tensor_type type, size_t cols, size_t column,            \
        size_t count, const int64_t *old, struct predict_scratch *scratch, int64_t *ret_predicted, uint8_t *ret_hint
#define LINE_ARGUMENTS plan, row, type, cols, column, count, old, scratch, ret_predicted, ret_hint
#define FINISH_PARAMETERS                                                                                              \
    const struct plan *plan, enum tensor_type type, size_t count, const int64_t *old, int64_t *coded
#define FINISH_ARGUMENTS plan, type, count, old, coded

static bool line_any(LINE_PARAMETERS)
{
    return line_pieces(LINE_ARGUMENTS);
}

static void finish_any(FINISH_PARAMETERS)
{
    finish_pieces(FINISH_ARGUMENTS);
}

/* The same once more for x86-64 processors with AVX2, which does twice as many elements at once. It has nothing that
 * fuses a product and a sum: the results are the same. Chosen when it is called, because resolvers (target_clones) run
 * before sanitizers do. */
#ifdef __x86_64__
[[gnu::target("avx2")]] static bool line_avx2(LINE_PARAMETERS)
{
    return line_pieces(LINE_ARGUMENTS);
}

[[gnu::target("avx2")]] static void finish_avx2(FINISH_PARAMETERS)
{
    finish_pieces(FINISH_ARGUMENTS);
}
#endif

size_t predict_codes(const struct predict_code **ret_codes)
{
    static const struct predict_code codes[] = {
        {line_any, finish_any},
#ifdef __x86_64__
        {line_avx2, finish_avx2},
#endif
    };
    *ret_codes = codes;
#ifdef __x86_64__
    return __builtin_cpu_supports("avx2") ? 2 : 1;
#else
    return 1;
#endif
}

bool predict_line(LINE_PARAMETERS)
{
    const struct predict_code *codes;
    const size_t last = predict_codes(&codes) - 1;
    return codes[last].line(LINE_ARGUMENTS);
}

void predict_finish(FINISH_PARAMETERS)
{
    const struct predict_code *codes;
    const size_t last = predict_codes(&codes) - 1;
    codes[last].finish(FINISH_ARGUMENTS);
}

/* Steps of a grid from old to new. False: some are too many. */
static bool steps_find(double unit, size_t count, const int64_t *restrict old, const int64_t *restrict new,
                       const double *restrict old_values, const double *restrict new_values,
                       int64_t *restrict ret_steps)
{
    const struct numbers_bounds all = {-0x1p50, 0x1p50};
    uint64_t far = 0;
    for (size_t j = 0; j < count; j++) {
        const double steps = (new_values[j] - old_values[j]) * unit;
        const uint64_t turned = (uint64_t)old[j] ^ (uint64_t) new[j];
        const int64_t moved = (int64_t)(turned | (0 - turned)) >> 63;
        const int64_t count_of = numbers_nearest(all, steps) & moved;
        ret_steps[j] = count_of;
        far |= (uint64_t)(count_of + PREDICT_GRID_MAX) | (uint64_t)(PREDICT_GRID_MAX - count_of);
    }
    return far >> 63 == 0;
}

bool predict_target(const struct plan *plan, enum tensor_type type, size_t count, const int64_t *old,
                    const int64_t *new, struct predict_scratch *scratch, int64_t *ret_coded)
{
    if (plan->base != BASE_GRID) {
        memcpy(ret_coded, new, count * sizeof *new);
        return true;
    }
    numbers_values(type, new, count, scratch->values);
    numbers_values(type, old, count, scratch->update);
    if (!steps_find(predict_power(-plan->grid_exponent), count, old, new, scratch->update, scratch->values, ret_coded))
        return false;
    memcpy(scratch->check, ret_coded, count * sizeof *ret_coded);
    predict_finish(plan, type, count, old, scratch->check);
    return memcmp(scratch->check, new, count * sizeof *new) == 0;
}
