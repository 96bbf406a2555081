#pragma once
/* Which deltas are worth making, and which first. Pure. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As the table `delta` has them; NONE: there is no row. */
enum delta_state {
    DELTA_NONE,
    DELTA_WANTED,
    DELTA_MAKING,
    DELTA_READY,
    DELTA_NOT_WORTH_IT,
    DELTA_FAILED,
    DELTA_STATES_
};

/* A pair of bundles of one slot, and what is known of it. */
struct delta_pair {
    int64_t devices;   /* that run the old one and are to run the new one, or might be */
    bool active;       /* a rollout brings the new one to them now */
    bool asked;        /* by a person */
    bool due;          /* nobody is at it, and no failure is to be waited out */
    int64_t newness;   /* of the new one: larger is newer */
    int64_t full_size; /* bytes of the new bundle file, > 0 */
    int64_t size;      /* of the delta bundle, once it was made; -1: not known */
    double ratio;      /* delta to full, as it was for other pairs of the slot; < 0: not known */
    enum delta_state state;
    size_t row; /* the caller's */
    /* out */
    int64_t expected; /* bytes of the delta: as it is, or as it may be */
    int64_t saved;    /* bytes that the devices need not download */
    bool worth;       /* saved is enough, or a person asked */
};

struct delta_policy {
    int64_t saved_min; /* bytes */
};

/* Fills what is out. */
void delta_pair_judge(struct delta_pair *pair, const struct delta_policy *policy);

/* The order in which to make them, most urgent first: what people asked for, running rollouts, newest bundle, most
 * devices, most bytes saved. */
void delta_pairs_sort(struct delta_pair *pairs, size_t count);

/* It is to be made now. */
bool delta_pair_wanted(const struct delta_pair *pair);

/* A delta is kept when it is smaller than nine tenths of the full bundle. */
bool delta_size_kept(int64_t size, int64_t full_size);

enum { DELTA_TRIES_MAX = 4 };

/* Milliseconds to wait after so many tries have failed. */
int64_t delta_retry_ms(int64_t tries);

/* "wanted" …; "none" for DELTA_NONE. Static. */
const char *delta_state_name(enum delta_state state);
bool delta_state_parse(const char *name, enum delta_state *ret_state);
