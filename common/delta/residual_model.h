#pragma once
/* What the two coders of residuals have in common: counters, the memory of rows and columns, logarithms. Internal to
 * residual_*.c. */

#include "common/delta/residual.h"

enum {
    LOG_STEPS = 8,      /* logarithms are in eighths of a bit */
    LOG_SHIFT = 52 - 3, /* from the bits of a double to such a logarithm */
    LOG_ONE = 1023 * 8, /* that of 1.0 */
    LEVEL_UNSEEN = INT16_MIN,
    COUNTER_RATE_FAST = 160,
    SCALES = 128, /* contexts of how large the residual will be */
    TREE = 32,    /* counters of a tree of five decisions */
    OFTEN_SEEN_MAX = 40
};

/* Probability of a 1: 22 bits, and 10 bits that say how often it was seen. */
struct counter {
    uint32_t state;
};

struct row {
    int level, left, left2;
    int often, seen;               /* as in a column, over the last elements */
    int lately;                    /* the same over fewer */
    int above_left;                /* 1: there was a residual */
    int zeros, drift, sign, sign2; /* sign at `fast`: 1: the last one had a residual */
};

struct model;

/* How a line is coded: one of these for each effort. */
struct residual_coder {
    size_t model_size;
    void (*model_init)(struct model *model);
    void (*encode)(struct residual *r, struct range_encoder *coder, const struct residual_line *line);
    void (*decode)(struct residual *r, struct range_decoder *coder, const struct residual_line *line);
};

extern const struct residual_coder residual_coder_fast, residual_coder_best;

struct residual {
    const struct residual_coder *coder;
    struct residual_numbers numbers;
    struct row row;
    size_t column_count;
    unsigned kernel;
    int depth; /* of the tree of bit lengths */
    int laps;  /* `fast`: how often all columns were gone through, this time included; at most OFTEN_SEEN_MAX */
    struct column *columns;
    struct model *model;
};

/* Where an element stands, seen from what came before it. */
struct place {
    struct column *column;
    int ulp;                                 /* logarithm of the distance to the next number */
    int expected;                            /* of the residual, in logarithms */
    int scale;                               /* the same in steps of half a bit above the ulp, 0 … SCALES-1 */
    int relation;                            /* of the expected residual to the number itself, in logarithms */
    unsigned phase;                          /* inside the kernel */
    int row_level, level, left, up, near;    /* logarithms: of the row, the column, the elements before, the one above,
                                              * and of the kernel before */
    int sign, sign2;                         /* of the two elements before */
    int row_often, row_lately, column_often; /* 0 … 31: how often there is a residual */
    int around; /* a bit for each neighbour that has one: left, second left, above, above right, kernel before,
                 * above left */
    int row_zeros, column_zeros; /* 0 … 3 */
    int row_drift, column_drift; /* 0 … 15 */
    int hint;                    /* 0 … RESIDUAL_HINT_MAX */
    int magnitude;               /* of the number: its exponent for floats, else the hint */
    bool wide;                   /* so large a residual that the number itself is coded */
};

/* 4096/(n + 2) */
static const int16_t often_steps[OFTEN_SEEN_MAX + 1] = {
    2048, 1365, 1024, 819, 683, 585, 512, 455, 410, 372, 341, 315, 293, 273, 256, 241, 228, 216, 205, 195, 186,
    178,  171,  164,  158, 152, 146, 141, 137, 132, 128, 124, 120, 117, 114, 111, 108, 105, 102, 100, 98};

enum { COUNTER_BITS = 22, COUNTER_SEEN_BITS = 10, COUNTER_SEEN_MAX = (1 << COUNTER_SEEN_BITS) - 1 };

/* 65536/(n + 1.5): how far a counter moves that was seen n times. */
struct rates {
    uint16_t step[COUNTER_SEEN_MAX + 1];
};

static inline void rates_init(struct rates *rates)
{
    for (uint32_t i = 0; i <= COUNTER_SEEN_MAX; i++)
        rates->step[i] = (uint16_t)(131072 / (2 * i + 3));
}

static inline void counters_init(struct counter *counters, size_t count)
{
    for (size_t i = 0; i < count; i++)
        counters[i].state = 1U << 31;
}

/* limit: after so many sights the step stays. least: of the probability of either. */
ALWAYS_INLINE void counter_learn(struct counter *counter, const struct rates *rates, bool bit, uint32_t limit,
                                 int32_t least)
{
    const uint32_t seen = counter->state & COUNTER_SEEN_MAX;
    const int32_t one = (int32_t)(counter->state >> COUNTER_SEEN_BITS);
    const int32_t error = (bit ? (1 << COUNTER_BITS) - 1 - least : least) - one;
    const int32_t moved = one + (int32_t)(((int64_t)error * rates->step[seen]) >> 16);
    counter->state = (uint32_t)moved << COUNTER_SEEN_BITS | (seen + (seen < limit));
}

/* What one decision is coded with. */
struct lane {
    struct range_encoder *encoder;
    struct range_decoder *decoder;
};

ALWAYS_INLINE bool lane_code(struct lane *lane, bool encode, bool bit, uint32_t one)
{
    if (!encode)
        return range_decode(lane->decoder, one);
    range_encode(lane->encoder, bit, one);
    return bit;
}

/* For decisions that are nearly always 0. */
ALWAYS_INLINE bool lane_code_rare(struct lane *lane, bool encode, bool bit, uint32_t one)
{
    return encode ? lane_code(lane, encode, bit, one) : range_decode_rare(lane->decoder, one);
}

ALWAYS_INLINE int clamp(int value, int low, int high)
{
    return value < low ? low : value > high ? high : value;
}

/* Logarithm of a magnitude; 0.0 gives 0; infinity and all that is not a number the same, whatever its bits. */
ALWAYS_INLINE int log_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    const int log = (int)((bits & INT64_MAX) >> LOG_SHIFT);
    return log < 2047 * LOG_STEPS ? log : 2047 * LOG_STEPS;
}

/* Classes of a share in 1/65536: half octaves towards both ends. */
ALWAYS_INLINE int share_class(int share)
{
    const uint32_t small = (uint32_t)(share < 32768 ? share : 65535 - share) | 1;
    const int octave = 31 - __builtin_clz(small);
    const int half = octave == 0 ? 0 : (int)(small >> (octave - 1) & 1);
    const int class = clamp(2 * octave + half - 14, 0, 15);
    return share < 32768 ? class : 31 - class;
}

ALWAYS_INLINE uint64_t magnitude_of(int64_t number)
{
    return (uint64_t)(number ^ (number >> 63));
}

/* The value of a number, near enough: zeros and denormals are taken for normal ones. */
ALWAYS_INLINE double value_of(struct residual_numbers numbers, int64_t number)
{
    if (numbers.mantissa == 0)
        return (double)number;
    const uint64_t bits = (magnitude_of(number) << (52 - numbers.mantissa)) + ((uint64_t)(1023 - numbers.bias) << 52) +
                          ((uint64_t)number & (1ULL << 63));
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

ALWAYS_INLINE int ulp_of(struct residual_numbers numbers, int64_t number)
{
    if (numbers.mantissa == 0)
        return LOG_ONE;
    const int exponent = (int)(magnitude_of(number) >> numbers.mantissa);
    return (exponent + 1023 - numbers.bias - (int)numbers.mantissa) * LOG_STEPS;
}

/* ---- classes ---- */

/* How large a residual will be, in steps of half a bit above the ulp; above: its logarithm above that of the ulp. */
ALWAYS_INLINE int scale_of(int above)
{
    return clamp((above + 24) >> 2, 0, SCALES - 1);
}

/* The residual of a float is expected to be as large as the number itself; relation: in logarithms. */
ALWAYS_INLINE bool is_wide(struct residual_numbers numbers, int relation)
{
    return numbers.mantissa != 0 && relation > -LOG_STEPS;
}

/* How many elements were as predicted, just before in the row, and above: 0 … 3. */
ALWAYS_INLINE int row_zeros_class(int zeros)
{
    return (zeros > 0) + (zeros > 2) + (zeros > 8);
}

ALWAYS_INLINE int column_zeros_class(int zeros)
{
    return (zeros > 0) + (zeros > 1) + (zeros > 4);
}

/* To which side the row and the column move: 0 … 15. */
ALWAYS_INLINE int row_drift_class(int drift)
{
    return clamp((drift >> 3) + 8, 0, 15);
}

ALWAYS_INLINE int column_drift_class(int drift)
{
    return clamp((drift >> 2) + 8, 0, 15);
}

/* Level of the first row of a tensor, of which nothing is known but what is predicted. */
ALWAYS_INLINE int level_first(struct residual_numbers numbers, int64_t predicted)
{
    if (numbers.mantissa == 0)
        return LOG_ONE + LOG_STEPS;
    return magnitude_of(predicted) == 0 ? LOG_ONE - 5 * LOG_STEPS : ulp_of(numbers, predicted) + 8 * LOG_STEPS;
}
