#pragma once
/* What happened since the counts were last taken: inferences, errors, latencies, drift of the input. Pure; one
 * thread; times in microseconds of one monotonic clock. */

#include "common/wire/histogram.h"
#include "common/wire/profile.h"

#include <jansson.h>
#include <stdint.h>

struct window_feature {
    enum feature feature;
    const struct profile_feature *reference; /* borrowed */
    uint64_t counts[PROFILE_COUNTERS];
};

struct window {
    int64_t start_us;
    uint64_t count; /* inferences, failed ones too */
    uint64_t errors;
    int64_t queue_max;        /* most samples that waited at once, the one being run included */
    struct histogram latency; /* of those that did not fail */
    size_t feature_count;     /* features of the profile that can be taken */
    struct window_feature features[FEATURE_COUNT_];
};

/* profile: borrowed as long as the window is used; NULL: no drift is counted. */
struct window window_start(int64_t now_us, const struct profile *profile);

/* Counts the features of one input of len floats. */
void window_add_input(struct window *w, const float *values, size_t len);

void window_add_success(struct window *w, int64_t latency_us);
void window_add_error(struct window *w);
void window_add_waiting(struct window *w, int64_t waiting);

/* The counts as JSON (the answer to "take" in docs/man/muster-infer.8), NULL when there is no memory; only when there
 * is an answer the window starts anew. The caller owns the result. */
[[nodiscard]] json_t *window_take(struct window *w, int64_t now_us);
