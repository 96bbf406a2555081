#include "common/wire/histogram.h"

#include "common/base/json.h"

#include <math.h>

static const double BUCKETS_PER_DOUBLING = 8; /* 2^scale, scale 3 */

/* Only powers of two lie on a bucket's edge, and their log2 is exact. */
static int bucket_of(int64_t us)
{
    if (us <= 1)
        return 0;
    int bucket = (int)ceil(log2((double)us) * BUCKETS_PER_DOUBLING) - 1;
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

static uint64_t add_capped(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

void histogram_add(struct histogram *h, int64_t us)
{
    uint64_t *count = &h->counts[bucket_of(us)];
    *count = add_capped(*count, 1);
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
        into->counts[i] = add_capped(into->counts[i], from->counts[i]);
}

uint64_t histogram_count(const struct histogram *h)
{
    uint64_t count = 0;
    for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
        count = add_capped(count, h->counts[i]);
    return count;
}

double histogram_quantile_us(const struct histogram *h, double q)
{
    uint64_t total = histogram_count(h);
    if (total == 0)
        return -1;
    double rank = ceil(fmin(fmax(q, 0), 1) * (double)total);
    uint64_t below = 0;
    int bucket = -1;
    do
        below = add_capped(below, h->counts[++bucket]);
    while (bucket < HISTOGRAM_BUCKETS - 1 && (below == 0 || (double)below < rank));
    return exp2((bucket + 0.5) / BUCKETS_PER_DOUBLING);
}

json_t *histogram_to_json(const struct histogram *h)
{
    int first = 0;
    int end = HISTOGRAM_BUCKETS;
    while (end > 0 && h->counts[end - 1] == 0)
        end--;
    while (first < end && h->counts[first] == 0)
        first++;
    json_t *counts = json_array();
    for (int i = first; i < end; i++) {
        uint64_t count = h->counts[i] < HISTOGRAM_JSON_MAX ? h->counts[i] : HISTOGRAM_JSON_MAX;
        if (json_array_append_new(counts, json_integer((json_int_t)count)) != 0) {
            json_decref(counts);
            return NULL;
        }
    }
    return json_pack("{s:i, s:o}", "first", first < end ? first : 0, "counts", counts);
}

enum err histogram_from_json(const json_t *json, struct histogram *ret_histogram, struct err_info *info)
{
    int64_t first = 0;
    json_t *counts = NULL;
    enum err e = json_get_i64(json, "first", 0, HISTOGRAM_BUCKETS - 1, &first, info);
    if (e == ERR_OK)
        e = json_get_array(json, "counts", (size_t)(HISTOGRAM_BUCKETS - first), &counts, info);
    if (e != ERR_OK)
        return e;
    struct histogram h = {0};
    for (size_t i = 0; i < json_array_size(counts); i++) {
        const json_t *count = json_array_get(counts, i);
        if (!json_is_integer(count) || json_integer_value(count) < 0 || json_integer_value(count) > HISTOGRAM_JSON_MAX)
            return err_field(info, ERR_INVALID, "counts", "\"counts\"[%zu] must be a whole number from 0 to %d", i,
                             HISTOGRAM_JSON_MAX);
        h.counts[(size_t)first + i] = (uint64_t)json_integer_value(count);
    }
    *ret_histogram = h;
    return ERR_OK;
}
