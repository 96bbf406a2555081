/* Weight decay multiplies every weight by the same number below 1 in each step. Weights that had no gradient show it
 * exactly: one of them gives the product of all steps, and how it was rounded on the way tells the number of steps. */

#include "common/delta/search.h"

#include "common/delta/logistic.h"

#include <math.h>
#include <stdlib.h>

enum {
    PROBES = 512,
    TAKE_MAX = 1 << 14 /* what one step takes off at most, in units of 2^-24: a rate times a decay of 0.001 */
};

struct probe {
    float old, new;
};

static int ratio_compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Pairs of finite numbers from all over the tensor. */
static size_t probes_take(const struct tensor_data *data, struct probe *ret_probes)
{
    const uint64_t total = data->view.rows * data->view.cols;
    uint64_t seed = 1;
    size_t count = 0;
    for (int i = 0; i < 2 * PROBES && count < PROBES; i++) {
        seed = seed * 6364136223846793005U + 1442695040888963407U;
        const uint64_t at = (seed >> 20) % total;
        struct probe probe;
        memcpy(&probe.old, data->old + at * sizeof(float), sizeof(float));
        memcpy(&probe.new, data->new + at * sizeof(float), sizeof(float));
        if (fabsf(probe.old) > 1e-20F && fabsf(probe.old) < 1e20F && fabsf(probe.new) < 1e20F)
            ret_probes[count++] = probe;
    }
    return count;
}

/* The ratio new/old around which most probes are: the middle of the narrowest stretch that holds a sixth of them. */
static double ratio_find(const struct probe *probes, size_t count)
{
    double ratios[PROBES] = {0};
    for (size_t i = 0; i < count; i++)
        ratios[i] = (double)probes[i].new / (double)probes[i].old;
    qsort(ratios, count, sizeof ratios[0], ratio_compare);
    const size_t width = count / 6;
    size_t best = 0;
    for (size_t i = 0; i + width < count; i++)
        if (ratios[i + width] - ratios[i] < ratios[best + width] - ratios[best])
            best = i;
    return ratios[best + width / 2];
}

/* The most probes that come out right after some number of steps from first to last; 0: none, steps untouched. */
static size_t steps_find(const struct probe *probes, size_t count, float decay, uint32_t first, uint32_t last,
                         uint32_t *ret_steps)
{
    float values[PROBES];
    size_t most = 0;
    for (size_t i = 0; i < count; i++)
        values[i] = probes[i].old;
    for (uint32_t step = 1; step <= last; step++) {
        size_t hits = 0;
        for (size_t i = 0; i < count; i++)
            values[i] *= decay;
        for (size_t i = 0; i < count && step >= first; i++)
            hits += values[i] == probes[i].new;
        if (hits <= most)
            continue;
        most = hits;
        *ret_steps = step;
    }
    return most;
}

bool search_decay(const struct search *search, struct plan *plan)
{
    enum { FEW = 48 };
    const uint32_t steps_max = search->effort == DELTA_BEST ? PREDICT_STEPS_MAX : PREDICT_STEPS_MAX / 4;
    struct probe probes[PROBES];
    uint32_t unused;
    const size_t count = probes_take(search->data, probes);
    if (count < PROBES / 8)
        return false;
    const double ratio = ratio_find(probes, count);
    if (!(ratio < 1 - 0x1p-22) || ratio < 0.2)
        return false;
    /* If nothing fits exactly: all steps in one. */
    *plan = (struct plan){.base = BASE_DECAY, .decay = (float)ratio, .decay_steps = 1};
    size_t most = steps_find(probes, count, plan->decay, 1, 1, &unused);
    const double total = -logistic_ln(ratio);
    for (int take = 1; take <= TAKE_MAX; take++) {
        const float decay = 1 - (float)take * 0x1p-24F;
        const double exact = total / -logistic_ln((double)decay);
        if (exact < 0.5)
            break;
        const uint32_t slack = exact < steps_max ? (uint32_t)exact / 16 + 1 : 0, middle = (uint32_t)(exact + 0.5);
        const uint32_t first = middle > slack ? middle - slack : 1;
        uint32_t steps;
        if (exact > steps_max ||
            steps_find(probes, count < FEW ? count : FEW, decay, first, middle + slack, &steps) < 2)
            continue;
        const size_t hits = steps_find(probes, count, decay, steps, steps, &steps);
        if (hits <= most)
            continue;
        most = hits;
        plan->decay = decay;
        plan->decay_steps = steps;
    }
    return true;
}
