#pragma once
/* Numbers without hints, and floats, at `fast`: is there a residual; in which half octave; its sign; the other bits.
 * For residual_fast.c. */

#include "common/delta/residual_batch.h"
#include "common/delta/residual_parts.h"

/* Where the elements of a batch stand. Logarithms fit into 16 bits. */
struct places {
    int16_t ulp[BATCH];      /* logarithm of the distance to the next number */
    int16_t expected[BATCH]; /* of the residual, in logarithms */
    int16_t scale[BATCH];    /* the same in steps of half a bit above the ulp, 0 … SCALES-1 */
    int16_t relation[BATCH]; /* of the expected residual to the number itself, in logarithms */
    int16_t log[BATCH];      /* what the residual was; before that is known: what it is when there is none */
    int16_t sign[BATCH];     /* -1, 0, 1: of the residual */
};

/* near: logarithms of the residuals at the same places of a kernel before. */
ALWAYS_INLINE void places_find(const struct residual *r, const struct batch *batch, const int16_t *near, size_t count,
                               struct places *places)
{
    const struct columns c = batch->columns;
    const int row = 2 * r->row.level + r->row.left, mantissa = LOG_STEPS * (int)r->numbers.mantissa;
    for (size_t j = 0; j < count; j++)
        places->ulp[j] = (int16_t)ulp_of(r->numbers, batch->predicted[j]);
    for (size_t j = 0; j < count; j++) {
        const int expected = (row + 2 * c.level[j] + c.last[j] + 2 * near[j]) >> 3;
        const int above = expected - places->ulp[j];
        places->expected[j] = (int16_t)expected;
        places->relation[j] = (int16_t)(above - mantissa);
        places->scale[j] = (int16_t)scale_of(above);
    }
    for (size_t j = 0; j < count; j++) {
        const int16_t least = (int16_t)(places->ulp[j] - LOG_STEPS);
        places->log[j] = least < c.level[j] ? least : c.level[j];
        places->sign[j] = 0;
    }
}

/* What became of the elements is learnt. The row's level goes half of the way with each full batch. */
ALWAYS_INLINE void places_learn(struct residual *r, struct batch *batch, size_t count, const struct places *places)
{
    struct row *row = &r->row;
    const struct columns c = batch->columns;
    int sum = 0, signs = 0;
    for (size_t j = 0; j < count; j++) {
        sum += places->log[j];
        signs += places->sign[j];
    }
    for (size_t j = 0; j < count; j++) {
        const int16_t away = (int16_t)(places->log[j] - c.level[j]);
        const int16_t side = (int16_t)(places->sign[j] * 32 - c.drift[j]);
        c.level[j] = (int16_t)(c.level[j] + ((int16_t)(away + 2) >> 2));
        c.last[j] = places->log[j];
        c.drift[j] = (int16_t)(c.drift[j] + (side >> 2));
        c.zeros[j] = (int16_t)((c.zeros[j] + (c.zeros[j] < 100)) & ~batch->some[j]);
    }
    often_batch_learn(r, batch, count);
    const int all = (int)count;
    row->sign = batch->some[count - 1] & 1;
    row->left = sum / all;
    row->level += (sum - all * row->level) / 16;
    row->drift += signs * 16 - row->drift * (int)batch->somes / 8;
    row->zeros = batch->somes != 0 ? 0 : row->zeros + all;
}

enum { HALF_OCTAVES = 128, INSIDE = SYMBOLS_MANY - 2 /* a window */ };

/* Magnitudes are told in half octaves: 1, none, 2, 3, 4 and 5, 6 and 7, 8 to 11 ... */
ALWAYS_INLINE unsigned half_octave_of(uint64_t magnitude)
{
    const unsigned top = 63 - (unsigned)__builtin_clzll(magnitude);
    return top == 0 ? 0 : 2 * top + (unsigned)(magnitude >> (top - 1) & 1);
}

/* A half octave outside the window: how far. */
ALWAYS_INLINE unsigned beyond_code(struct symbols_many *table, struct lane *lane, bool encode, unsigned half,
                                   unsigned end, bool above)
{
    const unsigned far = above ? half - end : end - half;
    const unsigned symbol = symbol_code(table, lane, encode, far < SYMBOLS_MANY ? far : SYMBOLS_MANY - 1);
    if (symbol == SYMBOLS_MANY - 1)
        return (unsigned)bits_code(lane, encode, half, 7);
    return (above ? end + symbol : end - symbol) % HALF_OCTAVES;
}

/* One of 30 half octaves around the one that is expected, or another. */
ALWAYS_INLINE unsigned window_code(struct model *model, int scale, unsigned class, struct lane *lane, bool encode,
                                   unsigned half)
{
    /* residuals are often far above what is expected, and hardly ever far below */
    const unsigned first = (unsigned)clamp(scale - 14, 0, HALF_OCTAVES - INSIDE), end = first + INSIDE;
    const unsigned given = half < first ? 0 : half < end ? half - first + 1 : SYMBOLS_MANY - 1;
    const unsigned symbol = symbol_code(&model->symbols.half_octaves[scale * 4 + (int)class / 4], lane, encode, given);
    if (symbol == 0)
        return beyond_code(&model->symbols.below[scale / 4], lane, encode, half, first - 1, false);
    if (symbol == SYMBOLS_MANY - 1)
        return beyond_code(&model->symbols.above[scale / 4], lane, encode, half, end, true);
    return first + symbol - 1;
}

/* A residual that is not 0 and small beside the number. Returns it. */
ALWAYS_INLINE int64_t some_code(struct model *model, struct lane *lane, bool encode, int scale, unsigned class,
                                struct counter *sign, int64_t residual)
{
    const bool negative = residual < 0;
    const uint64_t magnitude = negative ? 0 - (uint64_t)residual : (uint64_t)residual;
    const unsigned half = window_code(model, scale, class, lane, encode, encode ? half_octave_of(magnitude) : 0);
    const bool down = counter_decide(sign, &model->rates, lane, encode, negative);
    const unsigned rest = half < 4 ? 0 : half / 2 - 1;
    uint64_t size = half < 2 ? 1 : (uint64_t)(2 | (half & 1)) << rest;
    size |= bits_code(lane, encode, magnitude & ((1ULL << rest) - 1), rest);
    return (int64_t)(down ? 0 - size : size);
}

ALWAYS_INLINE struct counter *sign_of(const struct residual *r, const struct batch *batch, size_t j)
{
    if (batch->hint != NULL)
        return &r->model->counters.hinted_sign[batch->hint[j]];
    return &r->model->counters.sign[row_drift_class(r->row.drift) * 16 + column_drift_class(batch->columns.drift[j])];
}

/* An element whose residual is as large as itself. */
ALWAYS_INLINE void wide_element_code(struct residual *r, struct lane *lane, bool encode, struct batch *batch, size_t j,
                                     struct places *places)
{
    const struct place place = {
        .expected = places->expected[j],
        .relation = places->relation[j],
        .row_zeros = row_zeros_class(r->row.zeros),
        .column_zeros = column_zeros_class(batch->columns.zeros[j]),
    };
    const int64_t predicted = batch->predicted[j];
    int64_t value = wide_code(r, lane, encode, &place, predicted, encode ? batch->value[j] : 0);
    if (!encode) {
        value = (int64_t)((uint64_t)value << (64 - r->numbers.width)) >> (64 - r->numbers.width);
        batch->value[j] = value;
    }
    if (value == predicted)
        return;
    places->log[j] = (int16_t)log_of(value_of(r->numbers, value) - value_of(r->numbers, predicted));
    places->sign[j] = value < predicted ? -1 : 1;
    batch->some[j] = UINT16_MAX;
    batch->somes++;
}

/* Whether there is a residual: how often there was one in the column, here and in the row; how large it will be. */
ALWAYS_INLINE struct counter *zero_of(const struct residual *r, const struct batch *batch, size_t j, unsigned class,
                                      int scale)
{
    if (r->numbers.sure && batch->hint != NULL) /* rather the hint than what was before */
        return &r->model->counters.zero[((unsigned)(scale < 15 ? scale : 15) * 16 + class) * 64 + batch->hint[j]];
    const unsigned before = j > 0 ? batch->some[j - 1] & 1 : (unsigned)r->row.sign;
    const unsigned row_class = r->model->often_class[r->row.often >> 8] / 2;
    return &r->model->counters.zero[((before * 8 + row_class) * 16 + class) * 64 + (unsigned)(scale < 63 ? scale : 63)];
}

ALWAYS_INLINE void near_element_code(struct residual *r, struct lane *lane, bool encode, struct batch *batch, size_t j,
                                     struct places *places)
{
    struct model *model = r->model;
    const int scale = places->scale[j];
    const unsigned class = model->often_class[batch->columns.often[j] >> 8];
    struct counter *zero = zero_of(r, batch, j, class, scale);
    const uint64_t predicted = (uint64_t)batch->predicted[j];
    int64_t residual = encode ? (int64_t)((uint64_t)batch->value[j] - predicted) : 0;
    if (!counter_decide(zero, &model->rates, lane, encode, residual != 0))
        return;
    residual = some_code(model, lane, encode, scale, class, sign_of(r, batch, j), residual);
    if (!encode) {
        const unsigned unused = 64 - r->numbers.width; /* corrupt input may leave the type's range */
        batch->value[j] = (int64_t)((predicted + (uint64_t)residual) << unused) >> unused;
    }
    places->log[j] = (int16_t)(places->ulp[j] + log_of((double)residual) - LOG_ONE);
    places->sign[j] = residual < 0 ? -1 : 1;
    batch->some[j] = UINT16_MAX;
    batch->somes++;
}

/* column: of the first element, among those that are remembered. */
ALWAYS_INLINE void near_batch_code(struct residual *r, struct lane *lane, bool encode, struct batch *batch,
                                   size_t column)
{
    const size_t back = r->kernel * ((BATCH + r->kernel - 1) / r->kernel); /* the same place in a kernel before */
    const int16_t *near = column >= back ? batch->columns.last - back : batch->columns.level;
    struct places places;
    if (batch->count == BATCH)
        places_find(r, batch, near, BATCH, &places);
    else
        places_find(r, batch, near, batch->count, &places);
    for (size_t j = 0; j < batch->count; j++)
        if (is_wide(r->numbers, places.relation[j]))
            wide_element_code(r, lane, encode, batch, j, &places);
        else
            near_element_code(r, lane, encode, batch, j, &places);
    if (batch->count == BATCH)
        places_learn(r, batch, BATCH, &places);
    else
        places_learn(r, batch, batch->count, &places);
}

/* Mean level of the first columns; they have been seen. */
static int columns_level(const struct residual *r)
{
    const struct columns columns = columns_from(r, 0);
    int sum = 0, count = 0;
    while (count < 64 && (size_t)count < r->column_count)
        sum += columns.level[count++];
    return count == 0 ? LOG_ONE : sum / count;
}

static void near_row_begin(struct residual *r, int64_t predicted)
{
    int level = r->row.level;
    if (r->laps != 0)
        level = columns_level(r);
    else if (level == LEVEL_UNSEEN)
        level = level_first(r->numbers, predicted);
    r->row = (struct row){.level = level, .left = level, .often = r->row.often};
}
