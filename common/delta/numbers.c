#include "common/delta/numbers.h"

#include <math.h>
#include <string.h>

static const struct residual_numbers types[] = {
    [TENSOR_F32] = NUMBERS_F32,   [TENSOR_F16] = NUMBERS_F16,   [TENSOR_BF16] = NUMBERS_BF16,
    [TENSOR_F64] = NUMBERS_F64,   [TENSOR_I8] = {.width = 8},   [TENSOR_U8] = {.width = 9},
    [TENSOR_I16] = {.width = 16}, [TENSOR_I32] = {.width = 32}, [TENSOR_I64] = {.width = 64},
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

#define LOAD(c_type, turned)                                                                                           \
    for (size_t i = 0; i < count; i++) {                                                                               \
        c_type number;                                                                                                 \
        memcpy(&number, bytes + i * sizeof number, sizeof number);                                                     \
        ret_ordered[i] = (c_type)(number ^ (number >> (8 * sizeof number - 1) & (turned)));                            \
    }

#define STORE(c_type, turned)                                                                                          \
    for (size_t i = 0; i < count; i++) {                                                                               \
        c_type number = (c_type)ordered[i];                                                                            \
        number = (c_type)(number ^ (number >> (8 * sizeof number - 1) & (turned)));                                    \
        memcpy(ret_bytes + i * sizeof number, &number, sizeof number);                                                 \
    }

/* Negative floats order the other way round. */
#define EACH_TYPE(WHAT)                                                                                                \
    switch (type) {                                                                                                    \
    case TENSOR_F32:                                                                                                   \
        WHAT(int32_t, INT32_MAX) break;                                                                                \
    case TENSOR_F16:                                                                                                   \
    case TENSOR_BF16:                                                                                                  \
        WHAT(int16_t, INT16_MAX) break;                                                                                \
    case TENSOR_F64:                                                                                                   \
        WHAT(int64_t, INT64_MAX) break;                                                                                \
    case TENSOR_I8:                                                                                                    \
        WHAT(int8_t, 0) break;                                                                                         \
    case TENSOR_U8:                                                                                                    \
        WHAT(uint8_t, 0) break;                                                                                        \
    case TENSOR_I16:                                                                                                   \
        WHAT(int16_t, 0) break;                                                                                        \
    case TENSOR_I32:                                                                                                   \
        WHAT(int32_t, 0) break;                                                                                        \
    case TENSOR_I64:                                                                                                   \
        WHAT(int64_t, 0) break;                                                                                        \
    }

void numbers_load(enum tensor_type type, const uint8_t *restrict bytes, size_t count, int64_t *restrict ret_ordered)
{
    EACH_TYPE(LOAD) // NOLINT(bugprone-signed-char-misuse): small numbers, not text
}

void numbers_store(enum tensor_type type, const int64_t *restrict ordered, size_t count, uint8_t *restrict ret_bytes)
{
    EACH_TYPE(STORE)
}

#define VALUES(numbers)                                                                                                \
    for (size_t i = 0; i < count; i++)                                                                                 \
        ret_values[i] = numbers_value(numbers, ordered[i]);

void numbers_values(enum tensor_type type, const int64_t *restrict ordered, size_t count, double *restrict ret_values)
{
    switch (type) {
    case TENSOR_F32:
        VALUES(NUMBERS_F32)
        break;
    case TENSOR_F16:
        VALUES(NUMBERS_F16)
        break;
    case TENSOR_BF16:
        VALUES(NUMBERS_BF16)
        break;
    case TENSOR_F64:
        VALUES(NUMBERS_F64)
        break;
    case TENSOR_I64:
        for (size_t i = 0; i < count; i++)
            ret_values[i] = (double)ordered[i];
        break;
    default:
        for (size_t i = 0; i < count; i++)
            ret_values[i] = (int32_t)ordered[i];
        break;
    }
}

struct numbers_bounds numbers_bounds_of(enum tensor_type type)
{
    const double half = numbers_power((int)types[type].width - 1);
    return type == TENSOR_U8 ? (struct numbers_bounds){0, 255} : (struct numbers_bounds){-half, half - 1};
}

static void integers_round(enum tensor_type type, const double *restrict values, size_t count,
                           int64_t *restrict ret_ordered)
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
        ret_ordered[i] = numbers_nearest(bounds, values[i]);
}

#define ROUND(numbers)                                                                                                 \
    for (size_t i = 0; i < count; i++)                                                                                 \
        ret_ordered[i] = numbers_rounded(numbers, values[i]);

void numbers_round(enum tensor_type type, const double *restrict values, size_t count, int64_t *restrict ret_ordered)
{
    switch (type) {
    case TENSOR_F32:
        ROUND(NUMBERS_F32)
        break;
    case TENSOR_F16:
        ROUND(NUMBERS_F16)
        break;
    case TENSOR_BF16:
        ROUND(NUMBERS_BF16)
        break;
    case TENSOR_F64:
        numbers_load(type, (const uint8_t *)values, count, ret_ordered);
        break;
    default:
        integers_round(type, values, count, ret_ordered);
        break;
    }
}
