#include "common/delta/numbers.h"

#include <math.h>
#include <string.h>

static const struct residual_numbers types[] = {
    [TENSOR_F32] = {32, 23, 127},  [TENSOR_F16] = {16, 10, 15}, [TENSOR_BF16] = {16, 7, 127},
    [TENSOR_F64] = {64, 52, 1023}, [TENSOR_I8] = {8, 0, 0},     [TENSOR_U8] = {9, 0, 0},
    [TENSOR_I16] = {16, 0, 0},     [TENSOR_I32] = {32, 0, 0},   [TENSOR_I64] = {64, 0, 0},
};

struct residual_numbers numbers_of(enum tensor_type type)
{
    return types[type];
}

bool numbers_are_floats(enum tensor_type type)
{
    return types[type].mantissa != 0;
}

size_t tensor_type_size(enum tensor_type type)
{
    return types[type].width / 8;
}

/* Negative floats order the other way round. */
static int64_t flip(int64_t bits, unsigned width)
{
    return bits ^ ((bits >> 63) & (INT64_MAX >> (64 - width)));
}

#define LOAD(c_type)                                                                                                   \
    for (size_t i = 0; i < count; i++) {                                                                               \
        c_type number;                                                                                                 \
        memcpy(&number, bytes + i * sizeof number, sizeof number);                                                     \
        ret_ordered[i] = number;                                                                                       \
    }

#define STORE(c_type)                                                                                                  \
    for (size_t i = 0; i < count; i++) {                                                                               \
        const c_type number = (c_type)(is_float ? flip(ordered[i], width) : ordered[i]);                               \
        memcpy(ret_bytes + i * sizeof number, &number, sizeof number);                                                 \
    }

void numbers_load(enum tensor_type type, const uint8_t *bytes, size_t count, int64_t *ret_ordered)
{
    if (type == TENSOR_U8) {
        LOAD(uint8_t)
        return;
    }
    switch (types[type].width) {
    case 8:
        LOAD(int8_t) // NOLINT(bugprone-signed-char-misuse): small numbers, not text
        break;
    case 16:
        LOAD(int16_t)
        break;
    case 32:
        LOAD(int32_t)
        break;
    default:
        LOAD(int64_t)
        break;
    }
    if (types[type].mantissa != 0)
        for (size_t i = 0; i < count; i++)
            ret_ordered[i] = flip(ret_ordered[i], types[type].width);
}

void numbers_store(enum tensor_type type, const int64_t *ordered, size_t count, uint8_t *ret_bytes)
{
    const unsigned width = types[type].width;
    const bool is_float = types[type].mantissa != 0;
    switch (width) {
    case 8:
    case 9:
        STORE(uint8_t)
        break;
    case 16:
        STORE(uint16_t)
        break;
    case 32:
        STORE(uint32_t)
        break;
    default:
        STORE(uint64_t)
        break;
    }
}

static double double_of(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* 2 to the power of -1022 … 1023. */
static double power_of_two(int exponent)
{
    return double_of((uint64_t)(exponent + 1023) << 52);
}

/* Inlined for each type, so that the format is known where it runs. */
static inline __attribute__((always_inline)) double float_value(struct residual_numbers numbers, int64_t ordered)
{
    const uint64_t magnitude = (uint64_t)(ordered ^ (ordered >> 63));
    const uint64_t sign = (uint64_t)ordered & (1ULL << 63);
    if (numbers_is_special(numbers, ordered))
        return 0;
    if (numbers.mantissa == 52)
        return double_of(magnitude | sign);
    if (magnitude >> numbers.mantissa == 0) {
        const double value = (double)magnitude * power_of_two(1 - numbers.bias - (int)numbers.mantissa);
        return sign != 0 ? -value : value;
    }
    return double_of(((magnitude << (52 - numbers.mantissa)) + ((uint64_t)(1023 - numbers.bias) << 52)) | sign);
}

void numbers_values(enum tensor_type type, const int64_t *ordered, size_t count, double *ret_values)
{
    if (type == TENSOR_F32) {
        for (size_t i = 0; i < count; i++)
            ret_values[i] = float_value((struct residual_numbers){32, 23, 127}, ordered[i]);
    } else if (type == TENSOR_F16) {
        for (size_t i = 0; i < count; i++)
            ret_values[i] = float_value((struct residual_numbers){16, 10, 15}, ordered[i]);
    } else if (types[type].mantissa == 0) {
        for (size_t i = 0; i < count; i++)
            ret_values[i] = (double)ordered[i];
    } else {
        for (size_t i = 0; i < count; i++)
            ret_values[i] = float_value(types[type], ordered[i]);
    }
}

/* The upper bits of x, rounded to nearest, ties to even. */
static uint64_t round_shift(uint64_t x, unsigned shift)
{
    const uint64_t low = x & ((1ULL << shift) - 1), half = 1ULL << (shift - 1);
    x >>= shift;
    return x + (low > half || (low == half && (x & 1) != 0));
}

/* Magnitude of the nearest float of fewer than 52 bits of mantissa. */
static uint64_t float_round(struct residual_numbers numbers, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits &= INT64_MAX;
    const int exponent = (int)(bits >> 52) - 1023 + numbers.bias;
    const int special = (1 << (numbers.width - 1 - numbers.mantissa)) - 1;
    const unsigned shift = 52 - numbers.mantissa;
    const uint64_t fraction = bits & ((1ULL << 52) - 1);
    if (exponent >= special)
        return (uint64_t)special << numbers.mantissa;
    if (exponent >= 1)
        return round_shift((uint64_t)exponent << 52 | fraction,
                           shift); /* may carry into the exponent, up to infinity */
    if ((int)shift + 1 - exponent > 60)
        return 0;
    return round_shift(1ULL << 52 | fraction, shift + (unsigned)(1 - exponent));
}

struct numbers_bounds numbers_bounds_of(enum tensor_type type)
{
    const double half = power_of_two((int)types[type].width - 1);
    return type == TENSOR_U8 ? (struct numbers_bounds){0, 255} : (struct numbers_bounds){-half, half - 1};
}

static void integers_round(enum tensor_type type, const double *values, size_t count, int64_t *ret_ordered)
{
    if (type == TENSOR_I64) {
        for (size_t i = 0; i < count; i++)
            ret_ordered[i] = values[i] >= 0x1p63    ? INT64_MAX
                             : values[i] <= -0x1p63 ? INT64_MIN
                                                    : (int64_t)rint(values[i]);
        return;
    }
    const struct numbers_bounds bounds = numbers_bounds_of(type);
    for (size_t i = 0; i < count; i++)
        ret_ordered[i] = (int32_t)numbers_nearest(bounds, values[i]);
}

void numbers_round(enum tensor_type type, const double *values, size_t count, int64_t *ret_ordered)
{
    const struct residual_numbers numbers = types[type];
    if (numbers.mantissa == 0) {
        integers_round(type, values, count, ret_ordered);
    } else if (type == TENSOR_F32) {
        for (size_t i = 0; i < count; i++) {
            const float rounded = (float)values[i];
            int32_t bits;
            memcpy(&bits, &rounded, sizeof bits);
            ret_ordered[i] = flip(bits, 32);
        }
    } else {
        for (size_t i = 0; i < count; i++) {
            uint64_t bits;
            memcpy(&bits, &values[i], sizeof bits);
            const uint64_t magnitude = numbers.mantissa == 52 ? bits & INT64_MAX : float_round(numbers, values[i]);
            ret_ordered[i] = bits >> 63 != 0 ? (int64_t)~magnitude : (int64_t)magnitude;
        }
    }
}
