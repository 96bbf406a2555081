/* The latency histogram: bucket edges, quantile error, merging, JSON. */
#include "common/base/json.h"
#include "common/wire/histogram.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SAMPLES = 20000 };

/* xorshift64*: the same numbers on every machine. */
static double uniform(uint64_t *seed)
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return (double)((*seed * 2685821657736338717U) >> 11) * 0x1p-53;
}

static double normal(uint64_t *seed)
{
    double radius = sqrt(-2 * log(1 - uniform(seed)));
    return radius * cos(2 * M_PI * uniform(seed));
}

static int64_t latency_uniform(uint64_t *seed)
{
    return 1000 + (int64_t)(uniform(seed) * 50000);
}

static int64_t latency_lognormal(uint64_t *seed)
{
    return (int64_t)exp(log(3000) + normal(seed));
}

static int64_t latency_two_peaks(uint64_t *seed)
{
    return (uniform(seed) < 0.9 ? 800 : 90000) + (int64_t)(uniform(seed) * 100);
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int only_bucket(const struct histogram *h)
{
    int found = -1;
    for (int i = 0; i < HISTOGRAM_BUCKETS; i++) {
        if (h->counts[i] == 0)
            continue;
        assert_int_equal(found, -1);
        assert_int_equal(h->counts[i], 1);
        found = i;
    }
    return found;
}

/* Bucket i holds (2^(i/8), 2^((i+1)/8)]: checked by whole-number arithmetic, n^8 against 2^(i+1). */
static void test_edges(void **state)
{
    (void)state;
    for (int64_t us = 2; us < 65536; us++) {
        struct histogram h = {0};
        histogram_add(&h, us);
        int i = only_bucket(&h);
        unsigned __int128 eighth = 1;
        for (int k = 0; k < 8; k++)
            eighth *= (unsigned __int128)us; /* < 2^128 */
        assert_true(eighth > (unsigned __int128)1 << i);
        assert_true(i == 127 || eighth <= (unsigned __int128)1 << (i + 1));
    }
}

static void test_ends(void **state)
{
    (void)state;
    static const int64_t low[] = {INT64_MIN, -1, 0, 1};
    for (size_t i = 0; i < sizeof low / sizeof *low; i++) {
        struct histogram h = {0};
        histogram_add(&h, low[i]);
        assert_int_equal(only_bucket(&h), 0);
    }
    static const int64_t high[] = {1048576, 1048577, INT64_MAX};
    for (size_t i = 0; i < sizeof high / sizeof *high; i++) {
        struct histogram h = {0};
        histogram_add(&h, high[i]);
        assert_int_equal(only_bucket(&h), HISTOGRAM_BUCKETS - 1);
    }
}

static void test_quantile_error(void **state)
{
    (void)state;
    int64_t (*const distributions[])(uint64_t *) = {latency_uniform, latency_lognormal, latency_two_peaks};
    static const double quantiles[] = {0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 1};
    uint64_t seed = 20240607;
    for (size_t d = 0; d < sizeof distributions / sizeof *distributions; d++) {
        static int64_t exact[SAMPLES];
        struct histogram h = {0};
        for (int i = 0; i < SAMPLES; i++) {
            exact[i] = distributions[d](&seed);
            histogram_add(&h, exact[i]);
        }
        qsort(exact, SAMPLES, sizeof *exact, compare);
        for (size_t k = 0; k < sizeof quantiles / sizeof *quantiles; k++) {
            double want = (double)exact[(int)ceil(quantiles[k] * SAMPLES) - 1];
            double got = histogram_quantile_us(&h, quantiles[k]);
            assert_true(fabs(got - want) / want <= 0.0443);
        }
    }
}

static void test_quantile_limits(void **state)
{
    (void)state;
    struct histogram h = {0};
    assert_true(histogram_quantile_us(&h, 0.5) == -1);
    histogram_add(&h, 1000);
    double one = histogram_quantile_us(&h, 0.5);
    assert_true(fabs(one - 1000) <= 44.3);
    assert_true(histogram_quantile_us(&h, 0) == one);
    assert_true(histogram_quantile_us(&h, 1) == one);
    assert_true(histogram_quantile_us(&h, -3) == one);
    assert_true(histogram_quantile_us(&h, 7) == one);
}

static void test_merge_is_sum(void **state)
{
    (void)state;
    uint64_t seed = 7;
    struct histogram whole = {0};
    struct histogram parts[3] = {0};
    for (int i = 0; i < SAMPLES; i++) {
        int64_t us = latency_lognormal(&seed);
        histogram_add(&whole, us);
        histogram_add(&parts[i % 3], us);
    }
    histogram_merge(&parts[0], &parts[1]);
    histogram_merge(&parts[0], &parts[2]);
    assert_memory_equal(&parts[0], &whole, sizeof whole);
    assert_int_equal(histogram_count(&whole), SAMPLES);
}

static void test_no_overflow(void **state)
{
    (void)state;
    struct histogram full = {0};
    for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
        full.counts[i] = UINT64_MAX - 1;
    histogram_add(&full, 1);
    histogram_add(&full, 1);
    assert_true(full.counts[0] == UINT64_MAX);
    struct histogram other = full;
    histogram_merge(&full, &other);
    for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
        assert_true(full.counts[i] == UINT64_MAX);
    assert_true(histogram_count(&full) == UINT64_MAX);
    assert_true(histogram_quantile_us(&full, 1) >= 1);

    json_auto_t *json = histogram_to_json(&full);
    struct histogram back;
    assert_int_equal(histogram_from_json(json, &back, NULL), ERR_OK);
    assert_true(back.counts[0] == HISTOGRAM_JSON_MAX);
}

static void round_trip(const struct histogram *h, int64_t first, size_t len)
{
    json_auto_t *json = histogram_to_json(h);
    assert_non_null(json);
    assert_int_equal(json_integer_value(json_object_get(json, "first")), first);
    assert_int_equal(json_array_size(json_object_get(json, "counts")), len);
    struct histogram back;
    memset(&back, 0xff, sizeof back);
    assert_int_equal(histogram_from_json(json, &back, NULL), ERR_OK);
    assert_memory_equal(&back, h, sizeof back);
}

static void test_json(void **state)
{
    (void)state;
    struct histogram h = {0};
    round_trip(&h, 0, 0);
    h.counts[71] = 1;
    h.counts[74] = 12;
    round_trip(&h, 71, 4);
    h.counts[0] = 3;
    h.counts[HISTOGRAM_BUCKETS - 1] = HISTOGRAM_JSON_MAX;
    round_trip(&h, 0, HISTOGRAM_BUCKETS);
}

static void test_bad_json(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "[]",
        "{}",
        "{\"first\":0}",
        "{\"counts\":[]}",
        "{\"first\":-1,\"counts\":[]}",
        "{\"first\":160,\"counts\":[]}",
        "{\"first\":159,\"counts\":[1,2]}",
        "{\"first\":0.5,\"counts\":[]}",
        "{\"first\":\"0\",\"counts\":[]}",
        "{\"first\":0,\"counts\":{}}",
        "{\"first\":0,\"counts\":[-1]}",
        "{\"first\":0,\"counts\":[1.5]}",
        "{\"first\":0,\"counts\":[null]}",
        "{\"first\":0,\"counts\":[2147483648]}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_auto_t *json = NULL;
        assert_int_equal(json_parse(bad[i], strlen(bad[i]), JSON_BYTES_MAX, &json, NULL), ERR_OK);
        struct histogram untouched;
        memset(&untouched, 0x5a, sizeof untouched);
        struct histogram h = untouched;
        struct err_info info = {0};
        assert_int_equal(histogram_from_json(json, &h, &info), ERR_INVALID);
        assert_string_not_equal(info.text, "");
        assert_memory_equal(&h, &untouched, sizeof h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_edges),          cmocka_unit_test(test_ends),
        cmocka_unit_test(test_quantile_error), cmocka_unit_test(test_quantile_limits),
        cmocka_unit_test(test_merge_is_sum),   cmocka_unit_test(test_no_overflow),
        cmocka_unit_test(test_json),           cmocka_unit_test(test_bad_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
