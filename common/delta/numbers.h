#pragma once
/* Numbers of tensors as integers that order like their values, as doubles, and back. Internal to common/delta. */

#include "common/delta/residual.h"
#include "common/delta/tensors.h"

struct residual_numbers numbers_of(enum tensor_type type);
bool numbers_are_floats(enum tensor_type type);

/* Little-endian bytes to ordered integers and back; the way back takes the low bits of what does not fit. */
void numbers_load(enum tensor_type type, const uint8_t *bytes, size_t count, int64_t *ret_ordered);
void numbers_store(enum tensor_type type, const int64_t *ordered, size_t count, uint8_t *ret_bytes);

/* Ordered integers to their values. What is not finite becomes 0. */
void numbers_values(enum tensor_type type, const int64_t *ordered, size_t count, double *ret_values);

/* Values to the nearest number of the type, ties to even; floats overflow to infinity, integers are cut to their range.
 * Values are numbers, never NaN. */
void numbers_round(enum tensor_type type, const double *values, size_t count, int64_t *ret_ordered);

/* An ordered integer of a float type stands for infinity or no number. */
static inline bool numbers_is_special(struct residual_numbers numbers, int64_t ordered)
{
    const uint64_t magnitude = (uint64_t)(ordered ^ (ordered >> 63));
    const unsigned exponents = numbers.width - 1 - numbers.mantissa;
    return numbers.mantissa != 0 && magnitude >> numbers.mantissa == (1ULL << exponents) - 1;
}

/* Least and greatest of an integer type of at most 32 bits. */
struct numbers_bounds {
    double low, high;
};
struct numbers_bounds numbers_bounds_of(enum tensor_type type);

/* The nearest integer inside the bounds, ties to even, in plain arithmetic: the compiler may do several at once. What
 * is not a number is low. */
static inline double numbers_nearest(struct numbers_bounds bounds, double value)
{
    const double shift = 0x1.8p52;
    const double bounded = value > bounds.low ? value < bounds.high ? value : bounds.high : bounds.low;
    return (bounded + shift) - shift;
}
