#pragma once
/* Integers with hints at `fast`: 8-bit weights and steps on a grid. They are mostly as predicted, and what their
 * neighbours were hardly matters beside the hint, which says how near the prediction is to the next integer: only how
 * often there is a residual, and how long those are, is remembered of rows and columns. For residual_fast.c. */

#include "common/delta/residual_batch.h"
#include "common/delta/residual_parts.h"

enum { LENGTH_FIRST = 16 /* a mean of one bit */ };

/* How long the residuals are: a mean, in 1/16 bits. */
ALWAYS_INLINE int length_learn(int mean, unsigned length)
{
    const int target = (int)(length < 31 ? length : 31) * 16;
    return mean + (target - mean + (target > mean ? 3 : 0)) / 4;
}

/* Bits of a magnitude, 1 … 64: one decision after the other, because they are few. */
ALWAYS_INLINE unsigned hinted_length_code(struct model *model, struct lane *lane, bool encode, uint64_t magnitude,
                                          struct counter *contexts)
{
    const unsigned given = encode ? 64 - (unsigned)__builtin_clzll(magnitude) : 0;
    unsigned length = 1;
    while (length < TREE && counter_decide(&contexts[length - 1], &model->rates, lane, encode, given > length))
        length++;
    return length < TREE ? length : TREE + (unsigned)bits_code(lane, encode, given - TREE, 6);
}

/* A residual that is not 0. Returns the number. */
ALWAYS_INLINE int64_t hinted_some_code(struct residual *r, struct lane *lane, bool encode, unsigned hint,
                                       int16_t *column_length, int64_t predicted, int64_t residual)
{
    struct model *model = r->model;
    const bool negative = residual < 0;
    const uint64_t magnitude = negative ? 0 - (uint64_t)residual : (uint64_t)residual;
    const int expected = (r->row.level + *column_length) >> 4; /* half bits */
    const int context = clamp(expected, 0, LENGTHS - 1) * 8 + (int)(hint >> 3);
    const unsigned length = hinted_length_code(model, lane, encode, magnitude, model->counters.hinted_length[context]);
    r->row.level = length_learn(r->row.level, length);
    *column_length = (int16_t)length_learn(*column_length, length);
    const bool down = counter_decide(&model->counters.hinted_sign[hint], &model->rates, lane, encode, negative);
    const int over = clamp((int)length * 2 - expected + 2, 0, 7);
    model->at = model->counters.mantissa[(length < 3 ? length : 3) * 8 + (unsigned)over];
    const uint64_t size = size_code(model, lane, encode, magnitude, length);
    const unsigned unused = 64 - r->numbers.width; /* corrupt input may leave the type's range */
    return (int64_t)(((uint64_t)predicted + (down ? 0 - size : size)) << unused) >> unused;
}

ALWAYS_INLINE void hinted_contexts_find(const struct residual *r, const struct batch *batch, size_t count,
                                        uint16_t *ret_contexts)
{
    const uint8_t *class_of = r->model->often_class;
    const unsigned row_class = class_of[r->row.often >> 8] * 16U;
    for (size_t j = 0; j < count; j++)
        ret_contexts[j] = (uint16_t)((row_class + class_of[batch->columns.often[j] >> 8]) * HINTS + batch->hint[j]);
}

ALWAYS_INLINE void hinted_elements_code(struct residual *r, struct lane *lane, bool encode, struct batch *batch,
                                        const uint16_t *contexts)
{
    struct model *model = r->model;
    for (size_t j = 0; j < batch->count; j++) {
        struct counter *counter = &model->counters.zero[contexts[j]];
        const int64_t predicted = batch->predicted[j];
        const int64_t residual = encode ? (int64_t)((uint64_t)batch->value[j] - (uint64_t)predicted) : 0;
        /* the two ways are apart, so that what follows need not wait for the decision */
        if (!lane_code_rare(lane, encode, residual != 0, counter->state >> 16)) {
            counter_learn(counter, &model->rates, false, COUNTER_RATE_FAST, LEAST);
            continue;
        }
        counter_learn(counter, &model->rates, true, COUNTER_RATE_FAST, LEAST);
        const int64_t value =
            hinted_some_code(r, lane, encode, batch->hint[j], &batch->columns.level[j], predicted, residual);
        if (!encode)
            batch->value[j] = value;
        batch->some[j] = UINT16_MAX;
        batch->somes++;
    }
}

ALWAYS_INLINE void hinted_batch_code(struct residual *r, struct lane *lane, bool encode, struct batch *batch)
{
    uint16_t contexts[BATCH_MAX];
    if (batch->count == HINTED_BATCH) {
        hinted_contexts_find(r, batch, HINTED_BATCH, contexts);
        hinted_elements_code(r, lane, encode, batch, contexts);
        often_batch_learn(r, batch, HINTED_BATCH);
    } else {
        hinted_contexts_find(r, batch, batch->count, contexts);
        hinted_elements_code(r, lane, encode, batch, contexts);
        often_batch_learn(r, batch, batch->count);
    }
}

static void hinted_row_begin(struct residual *r)
{
    const int level = r->row.level == LEVEL_UNSEEN ? LENGTH_FIRST : r->row.level;
    r->row = (struct row){.level = level, .often = r->row.often};
}
