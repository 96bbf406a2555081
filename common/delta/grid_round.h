#pragma once
/* Grid publishing (docs/design/grid-publishing.md): before a new version is signed, its update (new - old) is rounded,
 * tensor by tensor, to whole multiples of a power of two at about the update's own size. The model hardly changes, its
 * delta becomes many times smaller. What it does to the answers must be measured: this module only rounds. Pure. */

#include "common/delta/tensors.h"

enum { GRID_FINER_MAX = 20 };

/* A tensor that both versions have, of the same type and shape. */
struct grid_tensor {
    enum tensor_type type;
    uint64_t count; /* elements */
    const uint8_t *old;
    uint8_t *new; /* rounded in place */
};

enum grid_outcome {
    GRID_ROUNDED,
    GRID_SAME,       /* nothing to round: the tensors are equal */
    GRID_NOT_FLOAT,  /* left as it is */
    GRID_NOT_FINITE, /* left as it is: it has infinities or values that are no numbers */
    GRID_EXTREME     /* left as it is: the update is too small or too large for a grid */
};

/* "rounded", "same", …: static. */
const char *grid_outcome_name(enum grid_outcome outcome);

/* What was done to a tensor. The numbers are 0 unless it was rounded. */
struct grid_report {
    enum grid_outcome outcome;
    int exponent;          /* the grid's step is 2^exponent */
    uint64_t moved_before; /* elements that differ from the old version, before … */
    uint64_t moved_after;  /* … and after */
    double update;         /* root mean square of the elements that differed */
    double error;          /* root mean square of what rounding changed in them */
};

/* Rounds one tensor: step 2^floor(log2 update) / 2^finer, finer 0 … GRID_FINER_MAX; where the update is more than a
 * quarter of the new values (a layer that was made anew), a quarter of those counts in its place; and all that sixteen
 * times finer when the tensor has less than 2,000 elements (biases, norms: they matter much and cost little). Elements
 * are old + k * step, rounded to the type. */
struct grid_report grid_round(const struct grid_tensor *tensor, unsigned finer);
