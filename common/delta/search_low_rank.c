/* Updates of low rank (merged adapters; but gradients of few examples are of low rank as well), and rows that were
 * scaled. The factors become integers, as coarse as pays. */

#include "common/base/cleanup.h"
#include "common/delta/logistic.h"
#include "common/delta/low_rank.h"
#include "common/delta/search.h"

#include <math.h>
#include <stdlib.h>

#define LENGTH(array) (sizeof(array) / sizeof(array)[0])

enum { SIDE_MIN = 8, RANK_FAST = 40, FACTOR_MAX = 1 << 23, ELEMENTS_MAX = 1 << 28 };
/* An update that leaves no more than this of floats tells them nearly exactly. Then finer factors pay, because the hint
 * says which way they are rounded. */
#define BESIDE_ULPS 4.0
#define BESIDE_FINER 0.5

/* What is left of a tensor after the best plan so far, row by row. */
struct rest {
    const struct search *search;
    struct plan_row row;
    struct predict_scratch scratch;
    int64_t old[RESIDUAL_LINE_MAX], new[RESIDUAL_LINE_MAX], predicted[RESIDUAL_LINE_MAX];
    double values[RESIDUAL_LINE_MAX];
    uint8_t hint[RESIDUAL_LINE_MAX];
    double *live_columns; /* how many elements of a column are not as predicted; NULL: not asked */
    double live, live_rows, log_ulps;
};

/* Differences of a piece of a row from what is predicted: exactly 0 where the prediction is right. */
static void rest_piece(struct rest *rest, uint64_t row, size_t column, size_t count, double *ret_values)
{
    const struct tensor_data *data = rest->search->data;
    const struct plan *plan = &rest->search->best.plan;
    const enum tensor_type type = data->view.type;
    const size_t at = (row * data->view.cols + column) * tensor_type_size(type);
    numbers_load(type, data->old + at, count, rest->old);
    numbers_load(type, data->new + at, count, rest->new);
    if (plan->base == BASE_GRID) {
        (void)predict_target(plan, type, count, rest->old, rest->new, &rest->scratch, rest->predicted);
        for (size_t j = 0; j < count; j++)
            ret_values[j] = (double)rest->predicted[j];
        return;
    }
    (void)predict_line(plan, &rest->row, type, data->view.cols, column, count, rest->old, &rest->scratch,
                       rest->predicted, rest->hint);
    if (numbers_are_floats(type))
        numbers_values(type, rest->predicted, count, rest->values);
    else
        memcpy(rest->values, rest->scratch.values, count * sizeof rest->values[0]);
    numbers_values(type, rest->new, count, ret_values);
    for (size_t j = 0; j < count; j++)
        ret_values[j] =
            numbers_are_floats(type) && rest->new[j] == rest->predicted[j] ? 0 : ret_values[j] - rest->values[j];
}

static void rest_row_begin(struct rest *rest, uint64_t row)
{
    const struct candidate *best = &rest->search->best;
    rest->row = (struct plan_row){.scale = 1, .ratio = 1};
    if (best->plan.rescaled)
        rest->row.ratio = tensor_row_ratio(rest->search->data, row);
    if (best->plan.row_scale) {
        const int64_t factor = best->down[row];
        predict_row(&best->plan, &factor, &rest->row);
    }
}

static void rest_row(void *user, uint64_t row, double *ret_values)
{
    struct rest *rest = user;
    const uint64_t cols = rest->search->data->view.cols;
    rest_row_begin(rest, row);
    for (uint64_t j = 0; j < cols; j += RESIDUAL_LINE_MAX)
        rest_piece(rest, row, (size_t)j, cols - j < RESIDUAL_LINE_MAX ? (size_t)(cols - j) : RESIDUAL_LINE_MAX,
                   ret_values + j);
}

/* log2 of the distance from a number to the next. */
static int ulp_log2(const struct search *search, int64_t number)
{
    const struct residual_numbers format = numbers_of(search->data->view.type);
    if (format.mantissa == 0 || search->best.plan.base == BASE_GRID)
        return 0;
    return (int)((uint64_t)(number ^ (number >> 63)) >> format.mantissa) - format.bias - (int)format.mantissa;
}

/* Counts what moves, over rows of which every step-th is looked at. */
static enum err rest_count(struct rest *rest, uint64_t step)
{
    const struct tensor_view *view = &rest->search->data->view;
    cleanup_free double *values = calloc(view->cols, sizeof *values);
    rest->live_columns = calloc(view->cols, sizeof *rest->live_columns);
    if (values == NULL || rest->live_columns == NULL)
        return ERR_NO_MEMORY;
    for (uint64_t i = 0; i < view->rows; i += step) {
        rest_row(rest, i, values);
        double live = 0;
        for (uint64_t j = 0; j < view->cols; j++) {
            if (values[j] == 0)
                continue;
            live++;
            rest->live_columns[j]++;
            rest->log_ulps += ulp_log2(rest->search, rest->predicted[j % RESIDUAL_LINE_MAX]);
        }
        rest->live += live * (double)step;
        rest->live_rows += live > 0 ? (double)step : 0;
    }
    return ERR_OK;
}

static double live_columns_of(const struct rest *rest)
{
    double count = 0;
    for (uint64_t j = 0; j < rest->search->data->view.cols; j++)
        count += rest->live_columns[j] > 0;
    return count;
}

/* What is known of the factors' worth. */
struct balance {
    double live, rows, cols; /* that move at all */
    double ulp;              /* a typical one */
};

/* What the strongest components leave of the squares of all differences. */
static double energy_left(const struct low_rank *found, unsigned rank)
{
    double left = found->energy;
    for (unsigned r = 0; r < rank; r++)
        left -= found->singular[r] * found->singular[r];
    return left > 0 ? left : 0;
}

static double log2_of(double x)
{
    return logistic_ln(x) * 1.44269504088896340736;
}

/* Standard deviation per element that the factors of a rank may add, so that finer ones would not pay. */
static double error_of(const struct balance *balance, unsigned rank, double left)
{
    double share = rank * (balance->rows + balance->cols) / balance->live;
    share = share > 0.5 ? 0.5 : share;
    return sqrt((left / balance->live + balance->ulp * balance->ulp / 12) * share / (1 - share));
}

/* Bits of a tensor whose strongest components are factored out. */
static double bits_of(const struct balance *balance, const struct low_rank *found, unsigned rank, double left)
{
    const double relative = (left > 0 ? left : 0) / balance->live / (balance->ulp * balance->ulp);
    const double error = rank == 0 ? 0 : error_of(balance, rank, left > 0 ? left : 0);
    const double added = error * error / (balance->ulp * balance->ulp);
    double bits = balance->live * 0.5 * log2_of(1 + 17 * (relative + added));
    for (unsigned r = 0; r < rank; r++) {
        const double step = error / sqrt(2.0 * rank) * 3.46; /* uniform errors: a step is root 12 deviations */
        const double steps = found->singular[r] / sqrt(balance->rows * balance->cols) / step;
        bits += (balance->rows + balance->cols) * (0.5 * log2_of(1 + 17 * steps * steps));
    }
    return bits;
}

/* The rank that looks cheapest. */
static unsigned rank_guess(const struct balance *balance, const struct low_rank *found)
{
    double left = found->energy, cheapest = bits_of(balance, found, 0, left);
    unsigned best = 0;
    for (unsigned r = 1; r <= found->rank; r++) {
        left -= found->singular[r - 1] * found->singular[r - 1];
        const double bits = bits_of(balance, found, r, left);
        if (bits >= cheapest)
            continue;
        cheapest = bits;
        best = r;
    }
    return best;
}

static int step_exponent(double step)
{
    int exponent = 0;
    const double fraction = frexp(step, &exponent);
    return fraction < 0.70710678 ? exponent - 1 : exponent;
}

/* How many powers of two a step has to grow so that the largest factor stays an integer of 23 bits. */
static int exponent_fit(int exponent, double largest)
{
    while (largest * predict_power(-exponent) > FACTOR_MAX)
        exponent++;
    return exponent;
}

/* Standard deviation per element of what an update leaves, with the error of its factors. */
static double rest_of(const struct balance *balance, const struct low_rank *found, unsigned rank, double error)
{
    const double left = energy_left(found, rank);
    return sqrt(left / balance->live + error * error);
}

/* Factors as integers. error: standard deviation per element that they may bring in. */
static enum err factors_make(const struct search *search, const struct balance *balance, const struct low_rank *found,
                             unsigned rank, double error, bool beside, struct candidate *candidate)
{
    const uint64_t rows = search->data->view.rows, cols = search->data->view.cols;
    const struct candidate *best = &search->best;
    const unsigned scaled = best->plan.row_scale, count = scaled + rank;
    candidate->plan = best->plan;
    candidate->plan.rank = rank;
    const double energy = found->energy - energy_left(found, rank);
    const double update = sqrt(energy / (balance->rows * balance->cols));
    candidate->plan.beside = beside;
    candidate->plan.typical = (float)fmin(1e29, fmax(1e-29, beside ? rest_of(balance, found, rank, error) : update));
    candidate->across = calloc(rank * cols, sizeof(float));
    candidate->down = calloc(rows * count, sizeof(int32_t));
    candidate->plan.across = candidate->across;
    if (candidate->across == NULL || candidate->down == NULL)
        return ERR_NO_MEMORY;
    for (uint64_t i = 0; i < rows && scaled != 0; i++)
        candidate->down[i * count] = best->down[i];
    for (unsigned r = 0; r < rank; r++) {
        const double step = error / sqrt(2.0 * rank) * 3.46;
        double largest_down = 0, largest_across = 0;
        for (uint64_t i = 0; i < rows; i++)
            largest_down = fmax(largest_down, fabs(found->down[i * found->rank + r]));
        for (uint64_t j = 0; j < cols; j++)
            largest_across = fmax(largest_across, fabs(found->across[r * cols + j]));
        const int down = exponent_fit(step_exponent(step / sqrt(found->singular[r] / balance->cols)), largest_down);
        const int across = exponent_fit(step_exponent(step / sqrt(found->singular[r] / balance->rows)), largest_across);
        candidate->plan.exponents[r] = down + across;
        for (uint64_t i = 0; i < rows; i++)
            candidate->down[i * count + scaled + r] =
                (int32_t)rint(found->down[i * found->rank + r] * predict_power(-down));
        for (uint64_t j = 0; j < cols; j++)
            candidate->across[r * cols + j] = (float)rint(found->across[r * cols + j] * predict_power(-across));
    }
    return ERR_OK;
}

static enum err factors_offer(struct search *search, const struct balance *balance, const struct low_rank *found,
                              const struct candidate *base, unsigned rank, double error, bool beside)
{
    struct search on_base = *search;
    on_base.best = *base;
    struct candidate candidate = {};
    enum err e = factors_make(&on_base, balance, found, rank, error, beside, &candidate);
    if (e == ERR_OK)
        return search_offer(search, &candidate);
    candidate_free(&candidate);
    return e;
}

static enum err rank_offer(struct search *search, const struct balance *balance, const struct low_rank *found,
                           const struct candidate *base, unsigned rank, double finer)
{
    const double error = finer * error_of(balance, rank, energy_left(found, rank));
    const bool exact = numbers_are_floats(search->data->view.type) && base->plan.base != BASE_GRID &&
                       rest_of(balance, found, rank, error) < BESIDE_ULPS * balance->ulp;
    enum err e = factors_offer(search, balance, found, base, rank, error, false);
    if (e == ERR_OK && exact)
        e = factors_offer(search, balance, found, base, rank, error * BESIDE_FINER, true);
    return e;
}

/* Ranks to try, in order. `fast` trusts the guess, except where updates are smaller than the steps of the numbers and
 * no guess is good; `best` has the time for all. */
static const double guess_alone[] = {1};
static const double ladder_fast[] = {4, 12, 32};
static const double ladder_best[] = {1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96};

struct trials {
    const double *ranks; /* times guess */
    size_t count;
    double guess;
};

/* Tries ranks until four after another were worse than one before; then, at `best`, finer and coarser factors. */
static enum err ranks_try(struct search *search, const struct balance *balance, const struct low_rank *found,
                          const struct trials *trials)
{
    struct candidate base = search->best; /* it stays while better ones come and go */
    struct search trial = *search;
    trial.best = (struct candidate){.cost = base.cost};
    enum err e = ERR_OK;
    unsigned tried = 0, worse = 0;
    for (size_t i = 0; i < trials->count && e == ERR_OK && worse < 4; i++) {
        const unsigned rank = (unsigned)(trials->guess * trials->ranks[i] + 0.5);
        if (rank == 0 || rank > found->rank || rank == tried)
            continue;
        const double before = trial.best.cost;
        e = rank_offer(&trial, balance, found, &base, rank, 1);
        worse = trial.best.cost < before ? 0 : worse + (trial.best.plan.rank != 0);
        tried = rank;
    }
    const unsigned best = trial.best.plan.rank;
    if (e == ERR_OK && best != 0 && search->effort == DELTA_BEST)
        e = rank_offer(&trial, balance, found, &base, best, 0.6);
    if (e == ERR_OK && best != 0 && search->effort == DELTA_BEST)
        e = rank_offer(&trial, balance, found, &base, best, 1.6);
    if (trial.best.plan.rank != 0) {
        candidate_free(&base);
        search->best = trial.best;
    }
    return e;
}

static unsigned rank_limit(const struct search *search)
{
    const struct tensor_view *view = &search->data->view;
    uint64_t limit = search->effort == DELTA_BEST ? PREDICT_RANK_MAX : RANK_FAST;
    const uint64_t room = PLAN_ACROSS_BYTES_MAX / sizeof(float) / view->cols;
    limit = limit < room ? limit : room;
    /* the search itself costs rank³: not more than reading a small tensor */
    while (search->effort == DELTA_FAST && limit > 4 && limit * limit * limit * 2 > view->rows * view->cols)
        limit--;
    const uint64_t side = (view->rows < view->cols ? view->rows : view->cols) / 2;
    return (unsigned)(limit < side ? limit : side);
}

enum err search_low_rank(struct search *search)
{
    const struct tensor_view *view = &search->data->view;
    if (view->rows < SIDE_MIN || view->cols < SIDE_MIN || view->rows * view->cols > ELEMENTS_MAX)
        return ERR_OK;
    const unsigned limit = rank_limit(search);
    cleanup_free struct rest *rest = calloc(1, sizeof *rest);
    if (rest == NULL || limit == 0)
        return rest == NULL ? ERR_NO_MEMORY : ERR_OK;
    rest->search = search;
    enum err e = rest_count(rest, 1);
    if (e != ERR_OK || rest->live < 64) {
        free(rest->live_columns);
        return e;
    }
    struct balance balance = {.live = rest->live,
                              .rows = rest->live_rows,
                              .cols = live_columns_of(rest),
                              .ulp = predict_power((int)fmax(-500, rint(rest->log_ulps / rest->live)))};
    free(rest->live_columns);
    const bool counts = !numbers_are_floats(view->type) || search->best.plan.base == BASE_GRID;
    if (counts) /* what stayed the same may have been moved by less than a step */
        balance.live = balance.rows * balance.cols;
    struct low_rank found = {};
    const struct low_rank_matrix matrix = {.rows = view->rows, .cols = view->cols, .row = rest_row, .user = rest};
    e = low_rank_find(&matrix, limit, search->effort == DELTA_BEST ? 2 : 1, &found);
    if (e != ERR_OK)
        return e;
    const bool best = search->effort == DELTA_BEST;
    struct trials trials = {.ranks = best ? ladder_best : ladder_fast,
                            .count = best ? LENGTH(ladder_best) : LENGTH(ladder_fast),
                            .guess = 1};
    if (!counts && !best)
        trials = (struct trials){.ranks = guess_alone, .count = 1, .guess = rank_guess(&balance, &found)};
    /* numbers that are none make no factors; sums of their squares may not even be finite */
    if (found.energy > 1e-150 && found.energy < 1e150)
        e = ranks_try(search, &balance, &found, &trials);
    low_rank_free(&found);
    return e;
}
