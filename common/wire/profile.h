#pragma once
/* Drift of a model's input, by counting. A bundle carries a signed reference profile: for each scalar feature of the
 * input the deciles of a reference data set and how many of its samples fell into each bin. A device counts its own
 * inputs into the same bins and sends only the counts; counts are merged by adding and scored against the reference.
 * Pure; not thread-safe. */

#include "common/base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Scalars that are taken of one float tensor. */
enum feature { FEATURE_MEAN, FEATURE_STD, FEATURE_MIN, FEATURE_MAX, FEATURE_ZERO_FRACTION, FEATURE_COUNT_ };

/* "mean", "std", "min", "max", "zero_fraction"; static. */
const char *feature_name(enum feature f);

/* Value of every feature of n > 0 floats; NAN where it has none (a tensor with a value that is not finite). */
void features_of_tensor(const float *values, size_t n, double ret_features[FEATURE_COUNT_]);

enum {
    PROFILE_EDGES = 11,        /* minimum, nine deciles, maximum of the reference */
    PROFILE_COUNTERS = 13,     /* under, ten deciles, over, missing */
    PROFILE_FEATURES_MAX = 64, /* of one profile */
    PROFILE_NAME_MAX = 64,     /* of one feature, with the NUL */
    PROFILE_SAMPLES_MIN = 30,  /* of a reference: fewer say nothing about deciles */
};

/* Most that one counter may hold in JSON; in memory counters stop at UINT64_MAX. */
#define PROFILE_JSON_MAX INT32_MAX

struct profile_feature {
    char name[PROFILE_NAME_MAX];
    double edges[PROFILE_EDGES];
    uint64_t counts[PROFILE_COUNTERS]; /* of the reference */
};

struct profile {
    size_t count;
    struct profile_feature *features;
};

/* Measures a reference: count samples of len floats each, back to back. profile_free() it. ERR_INVALID when there are
 * too few samples or a feature is missing in too many of them to have deciles. */
[[nodiscard]] enum err profile_build(const float *samples, size_t count, size_t len, struct profile **ret_profile,
                                     struct err_info *info);

/* manifest.json's "profile": {"features": [{"name", "edges": [11], "counts": [13], "samples"}]}. Names may be of
 * features that this version cannot take. ERR_INVALID says in info what is wrong. profile_free() it. */
[[nodiscard]] enum err profile_from_json(const json_t *json, struct profile **ret_profile, struct err_info *info);

/* The same back; NULL when there is no memory. The caller owns the result. */
[[nodiscard]] json_t *profile_to_json(const struct profile *p);

/* NULL is fine. Returns NULL. */
struct profile *profile_free(struct profile *p);

/* The feature of that name; NULL when the profile has none. Borrowed. */
const struct profile_feature *profile_find(const struct profile *p, const char *name);

/* Counts one value; NAN and infinities are "missing". */
void profile_count(const double edges[PROFILE_EDGES], double value, uint64_t counts[PROFILE_COUNTERS]);

/* Adds from to into. */
void profile_counts_merge(uint64_t into[PROFILE_COUNTERS], const uint64_t from[PROFILE_COUNTERS]);

/* 13 integers. to: a counter over PROFILE_JSON_MAX is written as that; NULL when there is no memory; the caller owns
 * it. from: ERR_INVALID says in info what is wrong. */
[[nodiscard]] json_t *profile_counts_to_json(const uint64_t counts[PROFILE_COUNTERS]);
[[nodiscard]] enum err profile_counts_from_json(const json_t *json, uint64_t ret_counts[PROFILE_COUNTERS],
                                                struct err_info *info);

struct drift_score {
    uint64_t samples; /* observed; 0 also without a reference; then the rest means nothing */
    double psi;       /* population stability index, >= 0 */
    double threshold; /* psi at or over it is drift: a false alarm in about 1 % of windows, whatever their size */
    bool drifted;
};

/* Scores observed counts against those of the reference. */
struct drift_score profile_score(const uint64_t reference[PROFILE_COUNTERS], const uint64_t observed[PROFILE_COUNTERS]);

static inline void cleanup_profile_p(struct profile **p)
{
    profile_free(*p);
}
#define cleanup_profile [[gnu::cleanup(cleanup_profile_p)]]
