#include "common/delta/low_rank.h"

#include "common/base/cleanup.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { OVERSAMPLING = 8, SWEEPS_MAX = 12 };

/* Memory of a search: both sides have k numbers for each row or column. */
struct space {
    unsigned k;
    double *tall;   /* rows × k */
    double *wide;   /* cols × k */
    double *row;    /* cols */
    double *turned; /* k rows of the longer side */
    double *gram, *vectors, *values;
};

static void space_free(struct space *space)
{
    free(space->tall);
    free(space->wide);
    free(space->row);
    free(space->turned);
    free(space->gram);
    free(space->vectors);
    free(space->values);
}

static enum err space_make(const struct low_rank_matrix *matrix, unsigned k, struct space *ret_space)
{
    *ret_space = (struct space){
        .k = k,
        .tall = calloc(matrix->rows * k, sizeof(double)),
        .wide = calloc(matrix->cols * k, sizeof(double)),
        .row = calloc(matrix->cols, sizeof(double)),
        .turned = calloc((matrix->rows > matrix->cols ? matrix->rows : matrix->cols) * k, sizeof(double)),
        .gram = calloc((size_t)k * k, sizeof(double)),
        .vectors = calloc((size_t)k * k, sizeof(double)),
        .values = calloc(k, sizeof(double))};
    const struct space *s = ret_space;
    const bool all = s->tall != NULL && s->wide != NULL && s->row != NULL && s->turned != NULL && s->gram != NULL &&
                     s->vectors != NULL && s->values != NULL;
    return all ? ERR_OK : ERR_NO_MEMORY;
}

/* Signs at random, the same ones every time. */
static void signs_fill(double *values, size_t count)
{
    uint64_t seed = 0x9E3779B97F4A7C15U;
    for (size_t i = 0; i < count; i++) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        values[i] = (seed >> 40 & 1) != 0 ? 1 : -1;
    }
}

/* tall = matrix * wide */
static void multiply(const struct low_rank_matrix *matrix, struct space *s, double *ret_energy)
{
    double energy = 0;
    for (uint64_t i = 0; i < matrix->rows; i++) {
        double *sum = s->tall + i * s->k;
        memset(sum, 0, s->k * sizeof *sum);
        matrix->row(matrix->user, i, s->row);
        for (uint64_t j = 0; j < matrix->cols; j++) {
            const double value = s->row[j];
            const double *factor = s->wide + j * s->k;
            if (value == 0)
                continue;
            energy += value * value;
            for (unsigned c = 0; c < s->k; c++)
                sum[c] += value * factor[c];
        }
    }
    *ret_energy = energy;
}

/* wide = transposed matrix * tall */
static void multiply_transposed(const struct low_rank_matrix *matrix, struct space *s)
{
    memset(s->wide, 0, matrix->cols * s->k * sizeof *s->wide);
    for (uint64_t i = 0; i < matrix->rows; i++) {
        const double *factor = s->tall + i * s->k;
        matrix->row(matrix->user, i, s->row);
        for (uint64_t j = 0; j < matrix->cols; j++) {
            const double value = s->row[j];
            double *sum = s->wide + j * s->k;
            if (value == 0)
                continue;
            for (unsigned c = 0; c < s->k; c++)
                sum[c] += value * factor[c];
        }
    }
}

/* Four sums side by side: the order is fixed, and still fast. */
static double dot_of(const double *a, const double *b, uint64_t count)
{
    double sum[4] = {};
    uint64_t i = 0;
    for (; i + 4 <= count; i += 4)
        for (unsigned lane = 0; lane < 4; lane++)
            sum[lane] += a[i + lane] * b[i + lane];
    for (; i < count; i++)
        sum[0] += a[i] * b[i];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* Makes the k columns of a tall matrix orthonormal, twice for accuracy; one that depends on the others becomes 0. */
static void orthonormalize(double *matrix, uint64_t rows, struct space *s)
{
    for (uint64_t i = 0; i < rows; i++)
        for (unsigned c = 0; c < s->k; c++)
            s->turned[c * rows + i] = matrix[i * s->k + c];
    for (unsigned c = 0; c < s->k; c++) {
        double *column = s->turned + c * rows;
        const double before = dot_of(column, column, rows);
        for (unsigned other = 0; other < 2 * c; other++) {
            const double *done = s->turned + (other < c ? other : other - c) * rows;
            const double dot = dot_of(column, done, rows);
            for (uint64_t i = 0; i < rows; i++)
                column[i] -= dot * done[i];
        }
        const double after = dot_of(column, column, rows);
        const double scale = after > before * 1e-24 && after > 0 ? 1 / sqrt(after) : 0;
        for (uint64_t i = 0; i < rows; i++)
            matrix[i * s->k + c] = column[i] *= scale;
    }
}

/* A rotation that makes the element (p, q) 0. */
static void rotate(double *matrix, double *vectors, unsigned n, unsigned p, unsigned q)
{
    const double apq = matrix[p * n + q];
    const double theta = (matrix[q * n + q] - matrix[p * n + p]) / (2 * apq);
    const double t = (theta >= 0 ? 1 : -1) / (fabs(theta) + sqrt(theta * theta + 1));
    const double c = 1 / sqrt(t * t + 1), s = t * c;
    for (unsigned i = 0; i < n; i++) {
        const double a = matrix[p * n + i], b = matrix[q * n + i];
        matrix[p * n + i] = c * a - s * b;
        matrix[q * n + i] = s * a + c * b;
        const double v = vectors[p * n + i], w = vectors[q * n + i];
        vectors[p * n + i] = c * v - s * w;
        vectors[q * n + i] = s * v + c * w;
    }
    for (unsigned i = 0; i < n; i++) {
        const double a = matrix[i * n + p], b = matrix[i * n + q];
        matrix[i * n + p] = c * a - s * b;
        matrix[i * n + q] = s * a + c * b;
    }
}

/* Largest first: a rank of each by counting, so that equal ones keep their order. */
static void eigen_sort(const double *matrix, const double *rows, unsigned n, double *ret_values, double *ret_vectors)
{
    for (unsigned i = 0; i < n; i++) {
        unsigned place = 0;
        for (unsigned j = 0; j < n; j++)
            place += matrix[j * n + j] > matrix[i * n + i] || (matrix[j * n + j] == matrix[i * n + i] && j < i);
        ret_values[place] = matrix[i * n + i];
        for (unsigned j = 0; j < n; j++)
            ret_vectors[j * n + place] = rows[i * n + j];
    }
}

void low_rank_eigen(double *matrix, unsigned n, double *ret_values, double *ret_vectors)
{
    cleanup_free double *rows = calloc((size_t)n * n, sizeof *rows); /* eigenvectors as rows */
    memset(ret_values, 0, n * sizeof *ret_values);
    memset(ret_vectors, 0, (size_t)n * n * sizeof *ret_vectors);
    if (rows == NULL)
        return; /* nothing was found */
    for (unsigned i = 0; i < n; i++)
        rows[i * n + i] = 1;
    for (int sweep = 0; sweep < SWEEPS_MAX; sweep++) {
        double off = 0, all = 0;
        for (unsigned p = 0; p < n; p++)
            for (unsigned q = 0; q < n; q++)
                *(p == q ? &all : &off) += matrix[p * n + q] * matrix[p * n + q];
        if (off <= all * 1e-28)
            break;
        const double small = off / ((double)n * n) * 1e-6;
        for (unsigned p = 0; p + 1 < n; p++)
            for (unsigned q = p + 1; q < n; q++)
                if (matrix[p * n + q] * matrix[p * n + q] > small)
                    rotate(matrix, rows, n, p, q);
    }
    eigen_sort(matrix, rows, n, ret_values, ret_vectors);
}

/* matrix ≈ tall * transposed wide; turns both so that the strongest components come first. */
static enum err components_make(const struct low_rank_matrix *matrix, struct space *s, unsigned rank,
                                struct low_rank *found)
{
    const unsigned k = s->k;
    for (unsigned a = 0; a < k; a++)
        for (unsigned b = a; b < k; b++) {
            double dot = 0;
            for (uint64_t j = 0; j < matrix->cols; j++)
                dot += s->wide[j * k + a] * s->wide[j * k + b];
            s->gram[a * k + b] = s->gram[b * k + a] = dot;
        }
    low_rank_eigen(s->gram, k, s->values, s->vectors);
    found->rank = 0;
    while (found->rank < rank && s->values[found->rank] > s->values[0] * 1e-20 && s->values[found->rank] > 0)
        found->rank++;
    if (found->rank == 0)
        return ERR_OK;
    found->down = calloc(matrix->rows * rank, sizeof(double));
    found->across = calloc(matrix->cols * rank, sizeof(double));
    found->singular = calloc(rank, sizeof(double));
    if (found->down == NULL || found->across == NULL || found->singular == NULL)
        return ERR_NO_MEMORY;
    for (unsigned r = 0; r < found->rank; r++) {
        found->singular[r] = sqrt(s->values[r]);
        const double root = sqrt(found->singular[r]);
        for (uint64_t i = 0; i < matrix->rows; i++) {
            double sum = 0;
            for (unsigned c = 0; c < k; c++)
                sum += s->tall[i * k + c] * s->vectors[c * k + r];
            found->down[i * found->rank + r] = sum * root;
        }
        for (uint64_t j = 0; j < matrix->cols; j++) {
            double sum = 0;
            for (unsigned c = 0; c < k; c++)
                sum += s->wide[j * k + c] * s->vectors[c * k + r];
            found->across[r * matrix->cols + j] = sum / root;
        }
    }
    return ERR_OK;
}

enum err low_rank_find(const struct low_rank_matrix *matrix, unsigned rank, int power, struct low_rank *ret_found)
{
    uint64_t k = rank + OVERSAMPLING;
    k = k < matrix->rows ? k : matrix->rows;
    k = k < matrix->cols ? k : matrix->cols;
    [[gnu::cleanup(space_free)]] struct space space = {};
    struct low_rank found = {};
    enum err e = space_make(matrix, (unsigned)k, &space);
    if (e != ERR_OK)
        return e;
    signs_fill(space.wide, matrix->cols * k);
    multiply(matrix, &space, &found.energy);
    orthonormalize(space.tall, matrix->rows, &space);
    multiply_transposed(matrix, &space);
    for (int i = 0; i < power; i++) {
        orthonormalize(space.wide, matrix->cols, &space);
        multiply(matrix, &space, &found.energy);
        orthonormalize(space.tall, matrix->rows, &space);
        multiply_transposed(matrix, &space);
    }
    e = components_make(matrix, &space, rank < k ? rank : (unsigned)k, &found);
    if (e != ERR_OK) {
        low_rank_free(&found);
        return e;
    }
    *ret_found = found;
    return ERR_OK;
}

void low_rank_free(struct low_rank *found)
{
    free(found->down);
    free(found->across);
    free(found->singular);
    *found = (struct low_rank){};
}
