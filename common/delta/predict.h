#pragma once
/* What the elements of a tensor are expected to be. Encoder and decoder run the same code, on any machine: only
 * + - * / and rounding of doubles, nothing fused. Internal to common/delta. */

#include "common/delta/numbers.h"

enum {
    PREDICT_RANK_MAX = 96,
    PREDICT_EXPONENT_MAX = 400, /* of their powers of two, both ways */
    PREDICT_STEPS_MAX = 8000,
    PREDICT_GRID_MAX = 1 << 22 /* magnitude of what a grid counts */
};

enum base {
    BASE_NOTHING, /* coded as it is */
    BASE_OLD,     /* near the old number */
    BASE_GRID,    /* the old number and a multiple of 2^grid_exponent, rounded */
    BASE_DECAY    /* near the old number, multiplied decay_steps times by decay in fp32 */
};

/* How a tensor is predicted. */
struct plan {
    enum base base;
    bool rescaled; /* quantized integers follow the ratio of their scales */
    double offset; /* then: added afterwards */
    int grid_exponent;
    float decay;
    uint32_t decay_steps;
    bool row_scale; /* each row was multiplied by 1 + q * 2^scale_exponent */
    int scale_exponent;
    unsigned rank; /* of the update that is added */
    bool beside;   /* it tells floats nearly exactly: hints say on which side of them the exact value is */
    float typical; /* what hints are relative to: size of that update, or beside: of what it leaves */
    int exponents[PREDICT_RANK_MAX]; /* of each component */
    const float *across;             /* rank rows of `cols` integers */
};

/* What belongs to one row. */
struct plan_row {
    double scale;
    double down[PREDICT_RANK_MAX]; /* factors, with their powers of two */
    double ratio;                  /* of the quantization scales */
};

/* Memory for one line. */
struct predict_scratch {
    double values[RESIDUAL_LINE_MAX];
    double update[RESIDUAL_LINE_MAX];
    int64_t rounded[RESIDUAL_LINE_MAX];
    int64_t check[RESIDUAL_LINE_MAX];
};

/* The numbers that are coded: those of the type, or the counts of a grid. */
struct residual_numbers predict_numbers(const struct plan *plan, enum tensor_type type);

/* Integers per row that are coded before it: scale and factors. */
unsigned predict_row_factors(const struct plan *plan);

/* Sets scale and down of a row from these integers. */
void predict_row(const struct plan *plan, const int64_t *factors, struct plan_row *ret_row);

/* A power of two, exponent -1022 … 1023. */
double predict_power(int exponent);

/* Predicts count elements of a row from column on. old: ordered integers of the same place (zeros when there is no old
 * tensor). cols: of the whole tensor. ret_hint has room for count; returns whether it was filled. */
bool predict_line(const struct plan *plan, const struct plan_row *row, enum tensor_type type, size_t cols,
                  size_t column, size_t count, const int64_t *old, struct predict_scratch *scratch,
                  int64_t *ret_predicted, uint8_t *ret_hint);

/* From what was coded to the ordered integers of the new tensor, in place. */
void predict_finish(const struct plan *plan, enum tensor_type type, size_t count, const int64_t *old, int64_t *coded);

/* The two above are compiled for more than one kind of processor. All give the same; this is for tests. */
struct predict_code {
    bool (*line)(const struct plan *plan, const struct plan_row *row, enum tensor_type type, size_t cols, size_t column,
                 size_t count, const int64_t *old, struct predict_scratch *scratch, int64_t *ret_predicted,
                 uint8_t *ret_hint);
    void (*finish)(const struct plan *plan, enum tensor_type type, size_t count, const int64_t *old, int64_t *coded);
};

/* Those that this processor can run, from the plainest on: at least one. */
size_t predict_codes(const struct predict_code **ret_codes);

/* The way back: what has to be coded so that predict_finish gives `new`. False: nothing does. */
bool predict_target(const struct plan *plan, enum tensor_type type, size_t count, const int64_t *old,
                    const int64_t *new, struct predict_scratch *scratch, int64_t *ret_coded);
