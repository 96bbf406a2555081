#pragma once
/* Codes numbers that are near a prediction: how far off, in the context of how far off the neighbours were. The same
 * code runs in both directions and must take the same decisions in both, on every machine. Internal to common/delta. */

#include "common/delta/delta.h"
#include "common/delta/range_coder.h"

enum {
    RESIDUAL_LINE_MAX = 4096,     /* elements of one call */
    RESIDUAL_COLUMNS_MAX = 32768, /* columns that are remembered; wider rows wrap around */
    RESIDUAL_HINT_MAX = 63,
    RESIDUAL_LINE_BYTES_MAX = RESIDUAL_LINE_MAX * 24 /* most that a line takes in either stream */
};

/* What the numbers are: 64-bit integers that order like the values they stand for. */
struct residual_numbers {
    unsigned width;    /* bits of the type */
    unsigned mantissa; /* floats: bits behind the exponent; 0 for integers */
    int bias;          /* floats: of the exponent */
    bool sure;         /* floats: hints say nearly all of how far off they are, as they do of integers */
};

/* One row of a tensor, or a piece of it. */
struct residual_line {
    const int64_t *predicted;
    int64_t *value;      /* read by the encoder, written by the decoder */
    const uint8_t *hint; /* 0 … RESIDUAL_HINT_MAX: what else is known of each; NULL: nothing */
    size_t count;        /* 1 … RESIDUAL_LINE_MAX */
    size_t column;       /* of the first element; 0 begins a row */
};

/* What is remembered of a column. */
struct column {
    int16_t level;  /* logarithm of what residuals in this column are like */
    int16_t last;   /* that of the last one */
    int8_t zeros;   /* zeros above */
    int8_t drift;   /* to which side the column moves */
    int8_t sign;    /* of the last one: -1, 0, 1 */
    uint8_t seen;   /* how many `often` was made of */
    uint16_t often; /* share of residuals that are not 0, in 1/65536 */
};

struct residual; /* what was learnt so far */

/* NULL: no memory. It takes residual_size() bytes. */
[[nodiscard]] struct residual *residual_new(enum delta_effort effort);
size_t residual_size(enum delta_effort effort);
void residual_free(struct residual *residual);

/* Begins a tensor: forgets the columns, keeps what was learnt. columns: memory for count columns, or for
 * RESIDUAL_COLUMNS_MAX when there are more; the caller keeps it until the tensor ends. kernel: period of the pattern
 * inside a row. */
void residual_begin(struct residual *residual, struct residual_numbers numbers, struct column *columns, size_t count,
                    unsigned kernel);

/* Needs RESIDUAL_LINE_BYTES_MAX reserved. */
void residual_encode(struct residual *residual, struct range_encoder *coder, const struct residual_line *line);
void residual_decode(struct residual *residual, struct range_decoder *coder, const struct residual_line *line);
