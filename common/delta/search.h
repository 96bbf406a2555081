#pragma once
/* The searches behind choose: what an update is made of. Each works on its own and leaves a candidate untouched when it
 * finds nothing. Deterministic on every machine. Internal to common/delta. */

#include "common/delta/sample.h"

/* A plan, what it refers to, and what the tensor would cost by it. */
struct candidate {
    struct plan plan; /* plan.across is across */
    float *across;
    int32_t *down;
    double cost; /* bytes */
};

void candidate_free(struct candidate *candidate);

/* Everything a search may look at. */
struct search {
    const struct tensor_data *data;
    struct sample sample;
    enum delta_effort effort;
    struct candidate best;
};

/* Estimates a candidate and keeps it when it is the best one so far, else frees it. */
[[nodiscard]] enum err search_offer(struct search *search, struct candidate *candidate);

/* Whether floats were multiplied by the same factor in each step (weight decay); sets decay and decay_steps. */
bool search_decay(const struct search *search, struct plan *plan);

/* Whether all updates are multiples of a power of two that is worth it; sets grid_exponent. */
bool search_grid(const struct search *search, struct plan *plan);

/* Rows that were multiplied by a number each. ERR_NO_MEMORY. */
[[nodiscard]] enum err search_row_scale(struct search *search);

/* Updates of low rank on top of the best candidate so far. ERR_NO_MEMORY. */
[[nodiscard]] enum err search_low_rank(struct search *search);
