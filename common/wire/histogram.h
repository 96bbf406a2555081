#pragma once
/* Latency histogram: the exponential histogram of OpenTelemetry at the fixed scale 3 (api/mqtt.md). Bucket i holds
 * latencies in (2^(i/8), 2^((i+1)/8)] microseconds; the first also holds everything below, the last everything above.
 * Histograms are merged by adding and percentiles come from merged buckets: percentiles are never averaged.
 * Pure: no clock, no memory of its own. Not thread-safe; one owner. */

#include "common/base/err.h"

#include <jansson.h>
#include <stdint.h>

enum { HISTOGRAM_BUCKETS = 160 };

/* Most that one bucket may hold in JSON; in memory buckets count further and stop at UINT64_MAX. */
#define HISTOGRAM_JSON_MAX INT32_MAX

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
};

/* Counts one latency in microseconds; anything <= 1, negative too, is in bucket 0. */
void histogram_add(struct histogram *h, int64_t us);

/* Adds all of from to into. */
void histogram_merge(struct histogram *into, const struct histogram *from);

/* How many latencies were counted. */
uint64_t histogram_count(const struct histogram *h);

/* Latency in microseconds below which the fraction q (0..1, clamped) of all lie: the geometric middle of its bucket, so
 * at most 4.4 % off inside 1 us .. 1.05 s. -1 when the histogram is empty. */
double histogram_quantile_us(const struct histogram *h, double q);

/* {"first": index of the first bucket that is not 0, "counts": [...]}, without zeros at either end. A bucket over
 * HISTOGRAM_JSON_MAX is written as that. NULL when there is no memory. The caller owns the result. */
[[nodiscard]] json_t *histogram_to_json(const struct histogram *h);

/* The same back; unknown members are ignored. ERR_INVALID says in info what is wrong. */
[[nodiscard]] enum err histogram_from_json(const json_t *json, struct histogram *ret_histogram, struct err_info *info);
