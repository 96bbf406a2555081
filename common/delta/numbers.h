#pragma once
/* Numbers of tensors as integers that order like their values, as doubles, and back. Internal to common/delta. */

#include "common/delta/residual.h"
#include "common/delta/tensors.h"

#include <string.h>

#define NUMBERS_F32 ((struct residual_numbers){.width = 32, .mantissa = 23, .bias = 127})
#define NUMBERS_F16 ((struct residual_numbers){.width = 16, .mantissa = 10, .bias = 15})
#define NUMBERS_BF16 ((struct residual_numbers){.width = 16, .mantissa = 7, .bias = 127})
#define NUMBERS_F64 ((struct residual_numbers){.width = 64, .mantissa = 52, .bias = 1023})

struct residual_numbers numbers_of(enum tensor_type type);
bool numbers_are_floats(enum tensor_type type);

/* Little-endian bytes to ordered integers and back; the way back takes the low bits of what does not fit. */
void numbers_load(enum tensor_type type, const uint8_t *restrict bytes, size_t count, int64_t *restrict ret_ordered);
void numbers_store(enum tensor_type type, const int64_t *restrict ordered, size_t count, uint8_t *restrict ret_bytes);

/* Ordered integers to their values. What is not finite becomes 0. */
void numbers_values(enum tensor_type type, const int64_t *restrict ordered, size_t count, double *restrict ret_values);

/* Values to the nearest number of the type, ties to even; floats overflow to infinity, integers are cut to their range.
 * Values are numbers, never NaN. */
void numbers_round(enum tensor_type type, const double *restrict values, size_t count, int64_t *restrict ret_ordered);

/* ---- one element ---- */

/* Inlined with a format that is known where they run. Nothing branches (what could is a mask), and numbers of up to 32
 * bits are worked on in 32 bits: the compiler does several elements at once. */

ALWAYS_INLINE double numbers_double(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

ALWAYS_INLINE uint64_t numbers_bits(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

ALWAYS_INLINE float numbers_float(int32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

ALWAYS_INLINE int32_t numbers_float_bits(float value)
{
    int32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* 2 to the power of -1022 … 1023. */
ALWAYS_INLINE double numbers_power(int exponent)
{
    return numbers_double((uint64_t)(exponent + 1023) << 52);
}

/* Of a float type: all bits for a finite number, none for infinity and what is no number. */
ALWAYS_INLINE int64_t numbers_finite(struct residual_numbers numbers, int64_t ordered)
{
    const int64_t special = (int64_t)((1ULL << (numbers.width - 1 - numbers.mantissa)) - 1) << numbers.mantissa;
    const int32_t narrow = (int32_t)ordered;
    if (numbers.width > 32)
        return ((ordered ^ ordered >> 63) - special) >> 63;
    return ((narrow ^ narrow >> 31) - (int32_t)special) >> 31;
}

/* An ordered integer of a float type stands for infinity or no number. */
ALWAYS_INLINE bool numbers_is_special(struct residual_numbers numbers, int64_t ordered)
{
    return numbers.mantissa != 0 && numbers_finite(numbers, ordered) == 0;
}

/* As numbers_values() does it, for a float type. */
ALWAYS_INLINE double numbers_value(struct residual_numbers numbers, int64_t ordered)
{
    const int64_t finite = numbers_finite(numbers, ordered);
    if (numbers.width > 32)
        return numbers_double((uint64_t)((ordered ^ (ordered >> 63 & INT64_MAX)) & finite));
    /* fp32 bits; a denormal number gets an exponent for that, and loses what it added */
    const int32_t narrow = (int32_t)ordered, magnitude = (narrow ^ narrow >> 31) & (int32_t)finite;
    const int32_t denormal = numbers.bias == 127 ? 0 : (magnitude - (1 << numbers.mantissa)) >> 31;
    const int32_t bits = (magnitude << (23 - numbers.mantissa)) + ((127 - numbers.bias) << 23) + (denormal & 1 << 23);
    const float value = numbers_float(bits) - numbers_float(denormal & (128 - numbers.bias) << 23);
    return (double)numbers_float(numbers_float_bits(value) | (narrow & (int32_t)finite & INT32_MIN));
}

/* As numbers_round() does it, for floats of at most 32 bits. A power of two is added that leaves no more than the
 * mantissa below it: what is there is then the number in steps of its type. Exponents are those of the double's upper
 * half, so that all but the sum has 32 bits. */
ALWAYS_INLINE int32_t numbers_rounded(struct residual_numbers numbers, double value)
{
    if (numbers.mantissa == 23) {
        const int32_t bits = numbers_float_bits((float)value);
        return bits ^ (bits >> 31 & INT32_MAX);
    }
    const int32_t infinity = (1024 + numbers.bias) << 20, least = (1024 - numbers.bias) << 20;
    const int32_t special = (int32_t)((1U << (numbers.width - 1 - numbers.mantissa)) - 1) << numbers.mantissa;
    const int32_t upper = (int32_t)(numbers_bits(value) >> 32);
    const int32_t exponent = upper & 2047 << 20, over = (infinity - 1 - exponent) >> 31;
    const int32_t normal = exponent > least ? exponent : least;
    const uint32_t power = (uint32_t)normal + ((52 - numbers.mantissa) << 20);
    const double size = numbers_double(numbers_bits(value) & INT64_MAX);
    const int32_t steps = (int32_t)(uint32_t)numbers_bits(size + numbers_double((uint64_t)power << 32));
    const int32_t magnitude = ((normal - least) >> (20 - numbers.mantissa)) + steps;
    return ((magnitude & ~over) | (special & over)) ^ upper >> 31;
}

/* The same for 64 bits: a double's own. */
ALWAYS_INLINE int64_t numbers_ordered(double value)
{
    const int64_t bits = (int64_t)numbers_bits(value);
    return bits ^ (bits >> 63 & INT64_MAX);
}

/* Least and greatest of an integer type of at most 32 bits. */
struct numbers_bounds {
    double low, high;
};
struct numbers_bounds numbers_bounds_of(enum tensor_type type);

/* The nearest integer inside the bounds (at most 2^50 from 0), ties to even. What is not a number is low. */
ALWAYS_INLINE int64_t numbers_nearest(struct numbers_bounds bounds, double value)
{
    const double shift = 0x1.8p52; /* added, it leaves nothing below 1 and the integer in the lower bits */
    const double above = value > bounds.low ? value : bounds.low;
    const double bounded = above < bounds.high ? above : bounds.high;
    return (int64_t)(numbers_bits(bounded + shift) - numbers_bits(shift));
}
