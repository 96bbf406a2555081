#include "common/delta/grid_round.h"

#include "common/delta/numbers.h"

#include <math.h>

enum {
    LINE = 1024,
    SMALL_COUNT = 2000, /* tensors below it are rounded finer by SMALL_FINER */
    SMALL_FINER = 4,    /* powers of two */
    VALUE_FINER = 2,    /* a coarsest step is so far under the values' own size */
    EXPONENT_MAX = 300, /* of a step, both ways: deltas know no others, and no weights need them */
};

const char *grid_outcome_name(enum grid_outcome outcome)
{
    static const char *const names[] = {[GRID_ROUNDED] = "rounded",
                                        [GRID_SAME] = "same",
                                        [GRID_NOT_FLOAT] = "not float",
                                        [GRID_NOT_FINITE] = "not finite",
                                        [GRID_EXTREME] = "extreme"};
    return names[outcome];
}

/* A piece of a tensor as numbers. */
struct line {
    size_t count;
    int64_t old_ordered[LINE], new_ordered[LINE];
    double old[LINE], new[LINE];
};

static void line_load(const struct grid_tensor *t, uint64_t from, struct line *line)
{
    const uint64_t offset = from * tensor_type_size(t->type);
    line->count = t->count - from < LINE ? (size_t)(t->count - from) : LINE;
    numbers_load(t->type, t->old + offset, line->count, line->old_ordered);
    numbers_load(t->type, t->new + offset, line->count, line->new_ordered);
    numbers_values(t->type, line->old_ordered, line->count, line->old);
    numbers_values(t->type, line->new_ordered, line->count, line->new);
}

/* Sums that decide the step. */
struct sums {
    double update, values; /* of squares */
    uint64_t moved;
    bool finite;
};

static struct sums tensor_sums(const struct grid_tensor *t)
{
    const struct residual_numbers numbers = numbers_of(t->type);
    struct sums sums = {.finite = true};
    struct line line;
    for (uint64_t from = 0; sums.finite && from < t->count; from += line.count) {
        line_load(t, from, &line);
        for (size_t i = 0; i < line.count; i++) {
            const double update = line.new[i] - line.old[i];
            sums.finite = sums.finite && !numbers_is_special(numbers, line.old_ordered[i]) &&
                          !numbers_is_special(numbers, line.new_ordered[i]);
            sums.moved += line.new_ordered[i] != line.old_ordered[i];
            sums.update += update * update;
            sums.values += line.new[i] * line.new[i];
        }
    }
    return sums;
}

/* floor(log2(sqrt(sum / count))), or INT32_MIN / INT32_MAX when that is no ordinary number. */
static int size_exponent(double sum, uint64_t count)
{
    const double mean = sum / (double)count;
    return isnormal(mean) ? ilogb(sqrt(mean)) : mean < 1 ? INT32_MIN : INT32_MAX;
}

static int step_exponent(const struct grid_tensor *t, const struct sums *sums, unsigned finer)
{
    const int by_update = size_exponent(sums->update, sums->moved);
    const int by_values = size_exponent(sums->values, t->count);
    if (by_update == INT32_MIN || by_update == INT32_MAX || by_values == INT32_MIN || by_values == INT32_MAX)
        return INT32_MIN;
    const int coarsest = by_update < by_values - VALUE_FINER ? by_update : by_values - VALUE_FINER;
    return coarsest - (int)finer - (t->count < SMALL_COUNT ? SMALL_FINER : 0);
}

/* Rounds one line and adds what that did. */
static void line_round(const struct grid_tensor *t, uint64_t from, struct line *line, struct grid_report *report)
{
    const struct residual_numbers numbers = numbers_of(t->type);
    const double step = ldexp(1, report->exponent);
    int64_t rounded[LINE];
    double wanted[LINE];
    for (size_t i = 0; i < line->count; i++)
        wanted[i] = line->old[i] + rint((line->new[i] - line->old[i]) / step) * step;
    numbers_round(t->type, wanted, line->count, rounded);
    for (size_t i = 0; i < line->count; i++) {
        if (wanted[i] == line->old[i]) /* no step: the same bits, also of a negative zero */
            rounded[i] = line->old_ordered[i];
        else if (numbers_is_special(numbers, rounded[i])) /* the last step would have been infinity */
            rounded[i] = line->new_ordered[i];
    }
    numbers_store(t->type, rounded, line->count, t->new + from *tensor_type_size(t->type));
    numbers_values(t->type, rounded, line->count, wanted);
    for (size_t i = 0; i < line->count; i++) {
        report->moved_after += rounded[i] != line->old_ordered[i];
        report->error += (wanted[i] - line->new[i]) * (wanted[i] - line->new[i]);
    }
}

struct grid_report grid_round(const struct grid_tensor *tensor, unsigned finer)
{
    struct grid_report report = {.outcome = GRID_NOT_FLOAT};
    if (!numbers_are_floats(tensor->type))
        return report;
    const struct sums sums = tensor_sums(tensor);
    if (!sums.finite || sums.moved == 0) {
        report.outcome = sums.finite ? GRID_SAME : GRID_NOT_FINITE;
        return report;
    }
    const int exponent = step_exponent(tensor, &sums, finer);
    if (exponent < -EXPONENT_MAX || exponent > EXPONENT_MAX) {
        report.outcome = GRID_EXTREME;
        return report;
    }
    report = (struct grid_report){.outcome = GRID_ROUNDED, .exponent = exponent, .moved_before = sums.moved};
    report.update = sqrt(sums.update / (double)sums.moved);
    struct line line;
    for (uint64_t from = 0; from < tensor->count; from += line.count) {
        line_load(tensor, from, &line);
        line_round(tensor, from, &line, &report);
    }
    report.error = sqrt(report.error / (double)sums.moved);
    return report;
}
