#pragma once
/* Retry with exponential backoff and jitter. Pure: the caller brings the random number and keeps the clock. */

#include <stdint.h>

struct retry {
    int64_t first_ms, most_ms; /* delay before the first retry, and the longest one; both before jitter */
    double spread;             /* 0.2: every delay is multiplied by something in [0.8, 1.2) */
    unsigned tries;            /* failures since the last success */
};

#define RETRY_INIT(first, most, jitter) ((struct retry){.first_ms = (first), .most_ms = (most), .spread = (jitter)})

/* Counts one more failure and says how long to wait before the next try. unit: uniform in [0, 1). */
int64_t retry_next_ms(struct retry *retry, double unit);

/* It worked: the next failure starts with the shortest delay again. */
void retry_reset(struct retry *retry);

/* period_ms ± spread: periodic work of a fleet must not fall into step. */
int64_t retry_jitter_ms(int64_t period_ms, double spread, double unit);
