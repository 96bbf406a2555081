#pragma once
/* Parts of a residual, made for one coder: whoever includes this has a `struct model` and says with these functions in
 * which contexts it codes what:
 *   model_decide(model, lane, encode, bit, counter)   codes a decision with a counter of the contexts set last
 *   model_wide(model, place)                   sets contexts: counter 0: the same number; 1: the other sign
 *   model_wide_exponent(model, lane, encode, place, flip, symbol)   codes one of 32
 *   model_wide_mantissa(model, place, flip, exponent)   sets contexts: two decisions, counters 1 … 3 */

#include "common/delta/residual_model.h"

ALWAYS_INLINE uint64_t bits_code(struct lane *lane, bool encode, uint64_t value, unsigned count)
{
    if (encode) {
        if (count > 32)
            range_put_bits(lane->encoder, (uint32_t)(value >> 32), count - 32);
        range_put_bits(lane->encoder, (uint32_t)(count >= 32 ? value : value & ((1ULL << count) - 1)),
                       count > 32 ? 32 : count);
        return value;
    }
    uint64_t high = 0;
    if (count > 32)
        high = (uint64_t)range_get_bits(lane->decoder, count - 32) << 32;
    return high | range_get_bits(lane->decoder, count > 32 ? 32 : count);
}

/* The bits of value under its highest: two in context, the others as they are. */
ALWAYS_INLINE uint64_t mantissa_code(struct model *model, struct lane *lane, bool encode, uint64_t value, unsigned bits)
{
    const unsigned modelled = bits < 2 ? bits : 2;
    unsigned node = 1;
    for (unsigned i = 1; i <= modelled; i++)
        node = node * 2 + model_decide(model, lane, encode, value >> (bits - i) & 1, node);
    const unsigned rest = bits - modelled;
    const uint64_t top = (uint64_t)(node & ((1U << modelled) - 1)) << rest;
    return rest == 0 ? top : top | bits_code(lane, encode, value & ((1ULL << rest) - 1), rest);
}

/* A magnitude of so many bits; the contexts are set. */
ALWAYS_INLINE uint64_t size_code(struct model *model, struct lane *lane, bool encode, uint64_t magnitude,
                                 unsigned length)
{
    const uint64_t top = 1ULL << (length - 1);
    return length <= 1 ? 1 : top | mantissa_code(model, lane, encode, magnitude & (top - 1), length - 1);
}

/* A number of which the prediction says hardly more than the order of magnitude: sign, exponent and mantissa. */
ALWAYS_INLINE int64_t wide_code(struct residual *r, struct lane *lane, bool encode, const struct place *place,
                                int64_t predicted, int64_t value)
{
    struct model *model = r->model;
    const unsigned mantissa = r->numbers.mantissa;
    model_wide(model, place);
    if (!model_decide(model, lane, encode, value != predicted, 0))
        return predicted;
    const bool flip = model_decide(model, lane, encode, (value ^ predicted) < 0, 1);
    const uint64_t magnitude = magnitude_of(value);
    const int exponent = (int)(magnitude >> mantissa);
    const int top = (place->expected >> 3) - 1023 + r->numbers.bias + 4;
    const unsigned symbol =
        model_wide_exponent(model, lane, encode, place, flip, (unsigned)clamp(top - exponent, 0, TREE - 1));
    uint64_t size = (uint64_t)(top - (int)symbol);
    if (symbol == 0 || symbol == TREE - 1)
        size = bits_code(lane, encode, (uint64_t)exponent, 11);
    model_wide_mantissa(model, place, flip, symbol);
    size = size << mantissa | mantissa_code(model, lane, encode, magnitude & ((1ULL << mantissa) - 1), mantissa);
    const bool negative = (predicted < 0) != flip;
    return negative ? (int64_t)~size : (int64_t)size;
}
