#include "server/core/delta_plan.h"

#include "common/base/text.h"

#include <stdlib.h>

/* Without experience: fine-tuned models take from a twentieth to two thirds. */
static const double RATIO_UNKNOWN = 0.5;

static const char *const STATES[DELTA_STATES_] = {
    [DELTA_NONE] = "none",
    [DELTA_WANTED] = "wanted",
    [DELTA_MAKING] = "making",
    [DELTA_READY] = "ready",
    [DELTA_NOT_WORTH_IT] = "not_worth_it",
    [DELTA_FAILED] = "failed",
};

void delta_pair_judge(struct delta_pair *pair, const struct delta_policy *policy)
{
    double ratio = pair->ratio < 0 ? RATIO_UNKNOWN : pair->ratio > 1 ? 1 : pair->ratio;
    pair->expected = pair->size >= 0 ? pair->size : (int64_t)((double)pair->full_size * ratio);
    int64_t each = pair->full_size - pair->expected;
    bool overflows = each > 0 && pair->devices > INT64_MAX / each;
    pair->saved = each <= 0 ? 0 : overflows ? INT64_MAX : pair->devices * each;
    pair->worth = pair->asked || (pair->saved > 0 && pair->saved >= policy->saved_min);
}

bool delta_pair_wanted(const struct delta_pair *pair)
{
    bool open = pair->state == DELTA_NONE || pair->state == DELTA_WANTED || pair->state == DELTA_MAKING;
    return open && pair->due && pair->worth;
}

/* Larger first. */
static int descending(int64_t a, int64_t b)
{
    return a > b ? -1 : a < b;
}

static int compare(const void *left, const void *right)
{
    const struct delta_pair *a = left;
    const struct delta_pair *b = right;
    const int by[] = {
        descending(a->asked, b->asked),     descending(a->active, b->active),
        descending(a->newness, b->newness), descending(a->devices, b->devices),
        descending(a->saved, b->saved),     -descending((int64_t)a->row, (int64_t)b->row),
    };
    for (size_t i = 0; i < sizeof by / sizeof by[0]; i++)
        if (by[i] != 0)
            return by[i];
    return 0;
}

void delta_pairs_sort(struct delta_pair *pairs, size_t count)
{
    if (count > 1)
        qsort(pairs, count, sizeof *pairs, compare);
}

bool delta_size_kept(int64_t size, int64_t full_size)
{
    return size < full_size - full_size / 10;
}

int64_t delta_retry_ms(int64_t tries)
{
    static const int64_t waits_ms[] = {5000, 20000, 80000};
    static const int64_t count = sizeof waits_ms / sizeof waits_ms[0];
    int64_t i = tries < 1 ? 0 : tries > count ? count - 1 : tries - 1;
    return waits_ms[i];
}

const char *delta_state_name(enum delta_state state)
{
    return STATES[state];
}

bool delta_state_parse(const char *name, enum delta_state *ret_state)
{
    int i = text_index(name, STATES, DELTA_STATES_);
    if (i < 0)
        return false;
    *ret_state = (enum delta_state)i;
    return true;
}
