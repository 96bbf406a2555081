#pragma once
/* Truncated singular value decomposition by random projection: what an update of low rank is made of. The same on every
 * machine (+ - * / and square roots in a fixed order). Internal to common/delta. */

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A matrix, one row at a time. */
struct low_rank_matrix {
    uint64_t rows, cols;
    void (*row)(void *user, uint64_t row, double *ret_values);
    void *user;
};

struct low_rank {
    unsigned rank;
    double *down;     /* rank for each row: unit vectors times the root of the singular value */
    double *across;   /* rank rows of cols, the same */
    double *singular; /* rank, falling */
    double energy;    /* sum of the squares of the whole matrix */
};

/* Finds the strongest components, at most rank of them. power: iterations that sharpen them, 0 … 3. ERR_NO_MEMORY. */
[[nodiscard]] enum err low_rank_find(const struct low_rank_matrix *matrix, unsigned rank, int power,
                                     struct low_rank *ret_found);

void low_rank_free(struct low_rank *found);

/* Eigenvalues (falling) and -vectors (columns of ret_vectors) of a symmetric n × n matrix, which is destroyed. */
void low_rank_eigen(double *matrix, unsigned n, double *ret_values, double *ret_vectors);
