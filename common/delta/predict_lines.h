#pragma once
/* The loops of predict.c over the elements of a line. They are inlined, because predict.c compiles them for more than
 * one kind of processor, and written so that a compiler does several elements at once with the instructions that every
 * x86-64 and arm64 has: arrays do not overlap, numbers of up to 32 bits are worked on in 32 bits, what could be a
 * branch is a mask, bounds are variables (constants make branches again), and bytes are stored by a loop of their own.
 * Internal to predict.c. */

#include "common/delta/predict.h"

enum { LINES_PIECE = 1024 /* elements at a time, so that they stay in the nearest cache */ };

ALWAYS_INLINE void bytes_store(const int32_t *restrict numbers, size_t count, uint8_t *restrict ret_bytes)
{
    for (size_t j = 0; j < count; j++)
        ret_bytes[j] = (uint8_t)numbers[j];
}

/* Adds components to the update, in their order; several at once, so that sums stay in registers. first: the update was
 * nothing before. */
ALWAYS_INLINE void components_add(unsigned components, bool first, const double *restrict down,
                                  const float *const restrict *across, size_t count, double *restrict update)
{
    for (size_t j = 0; j < count; j++) {
        double sum = first ? 0 : update[j];
#pragma GCC unroll 8
        for (unsigned i = 0; i < components; i++)
            /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): as many are set as are used */
            sum += down[i] * (double)across[i][j];
        update[j] = sum;
    }
}

/* Σ of the components, in their order: in memory, or zeros from elsewhere. Components with a factor of 0 are left out:
 * they add 0 or -0, and a sum that began with 0 is never -0. */
ALWAYS_INLINE const double *update_line(const struct plan *plan, const struct plan_row *row, size_t cols, size_t column,
                                        size_t count, double *restrict memory)
{
    static const double zeros[LINES_PIECE];
    double down[PREDICT_RANK_MAX + 1];
    const float *across[PREDICT_RANK_MAX + 1];
    unsigned used = 0;
    for (unsigned i = 0; i < plan->rank; i++) {
        down[used] = row->down[i];
        across[used] = plan->across + i * cols + column;
        used += row->down[i] != 0;
    }
    for (unsigned i = 0; i < used;) {
        const unsigned left = used - i, taken = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
        const bool first = i == 0;
        switch (taken) {
        case 8:
            components_add(8, first, down + i, across + i, count, memory);
            break;
        case 4:
            components_add(4, first, down + i, across + i, count, memory);
            break;
        case 2:
            components_add(2, first, down + i, across + i, count, memory);
            break;
        default:
            components_add(1, first, down + i, across + i, count, memory);
            break;
        }
        i += taken;
    }
    return used == 0 ? zeros : memory;
}

/* Every step of a whole line side by side: they depend on each other, the elements do not. */
ALWAYS_INLINE void decay_line(float decay, uint32_t steps, size_t count, const int64_t *restrict old,
                              int64_t *restrict ret_decayed)
{
    float values[LINES_PIECE];
    for (size_t j = 0; j < count; j++)
        values[j] = (float)numbers_value(NUMBERS_F32, old[j]);
    for (uint32_t step = 0; step < steps; step++)
        for (size_t j = 0; j < count; j++)
            values[j] *= decay;
    for (size_t j = 0; j < count; j++) {
        const int32_t finite = (int32_t)numbers_finite(NUMBERS_F32, old[j]);
        ret_decayed[j] = (numbers_rounded(NUMBERS_F32, (double)values[j]) & finite) | ((int32_t)old[j] & ~finite);
    }
}

/* Floats that move: old * scale + update. Numbers that are none stay what they were. */
ALWAYS_INLINE void floats_move(struct residual_numbers numbers, double scale, size_t count, const int64_t *restrict old,
                               const double *restrict update, int64_t *restrict ret_moved)
{
    for (size_t j = 0; j < count; j++) {
        const double value = numbers_value(numbers, old[j]) * scale + update[j];
        const int64_t finite = numbers_finite(numbers, old[j]);
        if (numbers.width > 32)
            ret_moved[j] = (numbers_ordered(value) & finite) | (old[j] & ~finite);
        else
            ret_moved[j] = (numbers_rounded(numbers, value) & (int32_t)finite) | ((int32_t)old[j] & ~(int32_t)finite);
    }
}

ALWAYS_INLINE void floats_line(enum tensor_type type, double scale, size_t count, const int64_t *restrict old,
                               const double *restrict update, int64_t *restrict ret_moved)
{
    switch (type) {
    case TENSOR_F32:
        floats_move(NUMBERS_F32, scale, count, old, update, ret_moved);
        break;
    case TENSOR_F16:
        floats_move(NUMBERS_F16, scale, count, old, update, ret_moved);
        break;
    case TENSOR_BF16:
        floats_move(NUMBERS_BF16, scale, count, old, update, ret_moved);
        break;
    default:
        floats_move(NUMBERS_F64, scale, count, old, update, ret_moved);
        break;
    }
}

/* Where the update pushes, and how hard: steps of a tenth of the typical one. Updates of optimizers have an upper end,
 * and what is near it is surer. */
ALWAYS_INLINE void push_line(const struct plan *plan, size_t count, const double *restrict update,
                             uint8_t *restrict ret_hint)
{
    static const volatile double hardest = 31;
    int32_t hint[LINES_PIECE];
    const double unit = 14 / (double)plan->typical, high = hardest, low = -high;
    for (size_t j = 0; j < count; j++) {
        const double push = update[j] * unit, above = push > low ? push : low;
        hint[j] = 32 + (int32_t)(above < high ? above : high);
    }
    bytes_store(hint, count, ret_hint);
}

/* On which side of the prediction the exact value lies, in 1/16 of the distance between two numbers there, and how
 * large what the update leaves is beside that distance: under an eighth of it, a half, two, or more. */
ALWAYS_INLINE void beside_line(struct residual_numbers numbers, const struct plan *plan, double scale, size_t count,
                               const int64_t *restrict old, const double *restrict update,
                               const int64_t *restrict predicted, uint8_t *restrict ret_hint)
{
    /* exponents of doubles: those of which 1 / distance is a double, too */
    const int64_t least = numbers.bias < 960 ? 1024 - numbers.bias : 64;
    const double typical = (double)plan->typical, high = 15.0 / 16;
    int32_t hint[LINES_PIECE];
    for (size_t j = 0; j < count; j++) {
        const double exact = numbers_value(numbers, old[j]) * scale + update[j];
        const double near = numbers_value(numbers, predicted[j]);
        const int64_t exponent = (int64_t)(numbers_bits(near) >> 52 & 2047);
        const int64_t used = exponent > least ? exponent : least;
        const double per_distance = numbers_double((uint64_t)(2046 + numbers.mantissa - used) << 52);
        const double side = (exact - near) * per_distance + 0.5, above = side > 0 ? side : 0;
        const double left = typical * per_distance;
        const int32_t class = (left > 0.125) + (left > 0.5) + (left > 2);
        hint[j] = (int32_t)((above < high ? above : high) * 16) * 4 + class;
    }
    bytes_store(hint, count, ret_hint);
}

/* What small integers would exactly be. */
ALWAYS_INLINE void integers_move(double ratio, double offset, size_t count, const int64_t *restrict old,
                                 const double *restrict update, double *restrict ret_exact)
{
    for (size_t j = 0; j < count; j++)
        ret_exact[j] = (int32_t)old[j] * ratio + offset + update[j];
}

/* Small integers: the nearest one, and as a hint on which side of it the exact value lies, in 1/16, and its size: how
 * many of the limits it reaches. bounds.low is even. */
ALWAYS_INLINE void integers_line(struct numbers_bounds bounds, const int32_t limits[3], size_t count,
                                 const double *restrict exact, int64_t *restrict ret_predicted,
                                 uint8_t *restrict ret_hint)
{
    int32_t hint[LINES_PIECE];
    const double low = bounds.low - 0.5, high = bounds.high + 0.5; /* half a step outside says all about the side */
    const double shift = 0x1.8p52, highest = bounds.high + shift;
    const int32_t limit[3] = {limits[0] - 1, limits[1] - 1, limits[2] - 1};
    for (size_t j = 0; j < count; j++) {
        const double above = exact[j] > low ? exact[j] : low, bounded = above < high ? above : high;
        const double rounded = bounded + shift, shifted = rounded < highest ? rounded : highest;
        const int64_t predicted = (int64_t)(numbers_bits(shifted) - numbers_bits(shift));
        const int32_t beside = (int32_t)((bounded - (shifted - shift) + 0.5) * 16);        /* 0 … 16 */
        const int32_t small = (int32_t)predicted, sign = small >> 31, size = small ^ sign; /* one less below 0 */
        const int32_t class = (size > limit[0] + sign) + (size > limit[1] + sign) + (size > limit[2] + sign);
        ret_predicted[j] = predicted;
        hint[j] = (beside - (beside >> 4)) * 4 + class;
    }
    bytes_store(hint, count, ret_hint);
}

/* How large floats are: the smaller, the more steps of a grid they are from changing their exponent. */
ALWAYS_INLINE void exponents_line(struct residual_numbers numbers, size_t count, const int64_t *restrict old,
                                  uint8_t *restrict ret_hint)
{
    int32_t hint[LINES_PIECE];
    for (size_t j = 0; j < count; j++) {
        const int32_t narrow = (int32_t)old[j];
        const int64_t magnitude = numbers.width > 32 ? old[j] ^ old[j] >> 63 : narrow ^ narrow >> 31;
        const int32_t below = numbers.bias + 2 - (int32_t)(magnitude >> numbers.mantissa);
        hint[j] = below < 0 ? 0 : below > RESIDUAL_HINT_MAX ? RESIDUAL_HINT_MAX : below;
    }
    bytes_store(hint, count, ret_hint);
}

/* Steps of a grid to the numbers that they lead to, in place. No step: the same bits. */
ALWAYS_INLINE void steps_apply(struct residual_numbers numbers, double unit, size_t count, const int64_t *restrict old,
                               int64_t *restrict steps)
{
    for (size_t j = 0; j < count; j++) {
        const int32_t number = (int32_t)steps[j];
        const int32_t moves = (number | (int32_t)(0 - (uint32_t)number)) >> 31;
        const double value = numbers_value(numbers, old[j]) + number * unit;
        if (numbers.width > 32)
            steps[j] = (numbers_ordered(value) & moves) | (old[j] & ~(int64_t)moves);
        else
            steps[j] = (numbers_rounded(numbers, value) & moves) | ((int32_t)old[j] & ~moves);
    }
}

ALWAYS_INLINE void steps_line(enum tensor_type type, double unit, size_t count, const int64_t *restrict old,
                              int64_t *restrict steps)
{
    switch (type) {
    case TENSOR_F32:
        steps_apply(NUMBERS_F32, unit, count, old, steps);
        break;
    case TENSOR_F16:
        steps_apply(NUMBERS_F16, unit, count, old, steps);
        break;
    case TENSOR_BF16:
        steps_apply(NUMBERS_BF16, unit, count, old, steps);
        break;
    default:
        steps_apply(NUMBERS_F64, unit, count, old, steps);
        break;
    }
}
