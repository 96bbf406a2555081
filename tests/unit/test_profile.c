/* Drift: features, bins, the reference profile and its JSON, and how often the score is right. */
#include "common/base/json.h"
#include "common/wire/profile.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

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

static void assert_near(double got, double want)
{
    assert_true(fabs(got - want) < 1e-9);
}

static void test_features(void **state)
{
    (void)state;
    static const float values[] = {0, 0, 4, -2};
    double f[FEATURE_COUNT_];
    features_of_tensor(values, 4, f);
    assert_near(f[FEATURE_MEAN], 0.5);
    assert_near(f[FEATURE_STD], sqrt((0.25 + 0.25 + 12.25 + 6.25) / 4));
    assert_near(f[FEATURE_MIN], -2);
    assert_near(f[FEATURE_MAX], 4);
    assert_near(f[FEATURE_ZERO_FRACTION], 0.5);

    static const float broken[2][2] = {{1, NAN}, {INFINITY, 1}};
    for (int i = 0; i < 2; i++) {
        features_of_tensor(broken[i], 2, f);
        for (int k = 0; k < FEATURE_COUNT_; k++)
            assert_true(isnan(f[k]));
    }
}

static void test_bins(void **state)
{
    (void)state;
    static const double edges[PROFILE_EDGES] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    static const double none[PROFILE_EDGES] = {0};
    static const struct {
        const double *edges;
        double value;
        int bin;
    } cases[] = {
        {edges, -0.1, 0}, {edges, 0, 1},         {edges, 1, 1}, {edges, 1.1, 2}, {edges, 10, 10}, {edges, 10.1, 11},
        {edges, NAN, 12}, {edges, INFINITY, 12}, {none, 0, 1},  {none, -1, 0},   {none, 1, 11},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t counts[PROFILE_COUNTERS] = {0};
        profile_count(cases[i].edges, cases[i].value, counts);
        for (int bin = 0; bin < PROFILE_COUNTERS; bin++)
            assert_int_equal(counts[bin], bin == cases[i].bin);
    }
}

static void test_counts_are_capped(void **state)
{
    (void)state;
    static const double edges[PROFILE_EDGES] = {0};
    uint64_t a[PROFILE_COUNTERS] = {[1] = UINT64_MAX, [2] = 5};
    uint64_t b[PROFILE_COUNTERS] = {[1] = 1, [2] = 6, [12] = 7};
    profile_count(edges, 0, a);
    profile_counts_merge(a, b);
    assert_true(a[1] == UINT64_MAX);
    assert_int_equal(a[2], 11);
    assert_int_equal(a[12], 7);
    struct drift_score score = profile_score(a, a);
    assert_true(isfinite(score.psi) && isfinite(score.threshold) && !score.drifted);

    json_auto_t *json = profile_counts_to_json(a);
    uint64_t back[PROFILE_COUNTERS];
    assert_int_equal(profile_counts_from_json(json, back, NULL), ERR_OK);
    assert_int_equal(back[1], PROFILE_JSON_MAX);
    assert_int_equal(back[2], 11);
}

/* A thousand one-float samples 0..999: each decile holds a tenth. */
static struct profile *thousand(void)
{
    static float samples[1000];
    for (int i = 0; i < 1000; i++)
        samples[i] = (float)((i * 7) % 1000);
    struct profile *p = NULL;
    assert_int_equal(profile_build(samples, 1000, 1, &p, NULL), ERR_OK);
    return p;
}

static void test_build(void **state)
{
    (void)state;
    cleanup_profile struct profile *p = thousand();
    assert_int_equal(p->count, FEATURE_COUNT_);
    const struct profile_feature *mean = profile_find(p, "mean");
    assert_non_null(mean);
    assert_null(profile_find(p, "median"));
    for (int i = 0; i < PROFILE_EDGES; i++)
        assert_near(mean->edges[i], 99.9 * i);
    for (int i = 0; i < PROFILE_COUNTERS; i++)
        assert_int_equal(mean->counts[i], i >= 1 && i <= 10 ? 100 : 0);
    /* one value only: all samples in the first bin, and a different value shows */
    const struct profile_feature *std = profile_find(p, "std");
    assert_int_equal(std->counts[1], 1000);
    uint64_t other[PROFILE_COUNTERS] = {[11] = 50};
    assert_true(profile_score(std->counts, other).drifted);
}

static void test_build_refuses(void **state)
{
    (void)state;
    static float samples[PROFILE_SAMPLES_MIN];
    struct profile *p = NULL;
    struct err_info info = {0};
    assert_int_equal(profile_build(samples, PROFILE_SAMPLES_MIN - 1, 1, &p, &info), ERR_INVALID);
    assert_string_not_equal(info.text, "");
    assert_int_equal(profile_build(samples, PROFILE_SAMPLES_MIN, 0, &p, NULL), ERR_INVALID);
    samples[3] = NAN;
    assert_int_equal(profile_build(samples, PROFILE_SAMPLES_MIN, 1, &p, NULL), ERR_INVALID);
    assert_null(p);
    samples[3] = 0;
    assert_int_equal(profile_build(samples, PROFILE_SAMPLES_MIN, 1, &p, NULL), ERR_OK);
    profile_free(p);
}

static void test_json_round_trip(void **state)
{
    (void)state;
    cleanup_profile struct profile *p = thousand();
    json_auto_t *json = profile_to_json(p);
    char *text = NULL;
    size_t len = 0;
    assert_int_equal(json_print(json, &text, &len), ERR_OK);
    json_auto_t *again = NULL;
    assert_int_equal(json_parse(text, len, JSON_BYTES_MAX, &again, NULL), ERR_OK);
    free(text);
    cleanup_profile struct profile *back = NULL;
    assert_int_equal(profile_from_json(again, &back, NULL), ERR_OK);
    assert_int_equal(back->count, p->count);
    assert_memory_equal(back->features, p->features, p->count * sizeof *p->features);
}

#define EDGES "\"edges\":[0,1,2,3,4,5,6,7,8,9,10]"
#define COUNTS "\"counts\":[0,1,1,1,1,1,1,1,1,1,1,0,0]"

static void test_bad_json(void **state)
{
    (void)state;
    static const char good[] = "{\"features\":[{\"name\":\"m\"," EDGES "," COUNTS ",\"samples\":10}]}";
    static const char *const bad[] = {
        "[]",
        "{}",
        "{\"features\":[]}",
        "{\"features\":{}}",
        "{\"features\":[1]}",
        "{\"features\":[{" EDGES "," COUNTS ",\"samples\":10}]}",
        "{\"features\":[{\"name\":\"\"," EDGES "," COUNTS ",\"samples\":10}]}",
        "{\"features\":[{\"name\":1," EDGES "," COUNTS ",\"samples\":10}]}",
        "{\"features\":[{\"name\":\"m\"," COUNTS ",\"samples\":10}]}",
        "{\"features\":[{\"name\":\"m\",\"edges\":[0,1,2,3,4,5,6,7,8,9]," COUNTS ",\"samples\":10}]}",
        "{\"features\":[{\"name\":\"m\",\"edges\":[0,1,2,3,4,5,6,7,8,9,10,11]," COUNTS ",\"samples\":10}]}",
        "{\"features\":[{\"name\":\"m\",\"edges\":[0,1,2,3,4,5,6,7,8,9,8]," COUNTS ",\"samples\":10}]}",
        "{\"features\":[{\"name\":\"m\",\"edges\":[0,1,2,3,4,5,6,7,8,9,\"10\"]," COUNTS ",\"samples\":10}]}",
        "{\"features\":[{\"name\":\"m\"," EDGES ",\"samples\":10}]}",
        "{\"features\":[{\"name\":\"m\"," EDGES ",\"counts\":[10],\"samples\":10}]}",
        "{\"features\":[{\"name\":\"m\"," EDGES ",\"counts\":[-1,1,1,1,1,1,1,1,1,1,2,0,0],\"samples\":10}]}",
        "{\"features\":[{\"name\":\"m\"," EDGES "," COUNTS "}]}",
        "{\"features\":[{\"name\":\"m\"," EDGES "," COUNTS ",\"samples\":11}]}",
        "{\"features\":[{\"name\":\"m\"," EDGES "," COUNTS ",\"samples\":10},"
        "{\"name\":\"m\"," EDGES "," COUNTS ",\"samples\":10}]}",
    };
    struct profile *p = NULL;
    json_auto_t *fine = json_loads(good, 0, NULL);
    assert_int_equal(profile_from_json(fine, &p, NULL), ERR_OK);
    p = profile_free(p);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_auto_t *json = json_loads(bad[i], 0, NULL);
        assert_non_null(json);
        struct err_info info = {0};
        assert_int_equal(profile_from_json(json, &p, &info), ERR_INVALID);
        assert_string_not_equal(info.text, "");
        assert_null(p);
    }
}

static void test_score_of_equal_is_zero(void **state)
{
    (void)state;
    cleanup_profile struct profile *p = thousand();
    struct drift_score score = profile_score(p->features[0].counts, p->features[0].counts);
    assert_true(score.psi == 0);
    assert_int_equal(score.samples, 1000);
    assert_false(score.drifted);
    static const uint64_t nothing[PROFILE_COUNTERS] = {0};
    assert_int_equal(profile_score(p->features[0].counts, nothing).samples, 0);
    assert_int_equal(profile_score(nothing, p->features[0].counts).samples, 0);
}

static void test_threshold(void **state)
{
    (void)state;
    uint64_t reference[PROFILE_COUNTERS] = {0};
    uint64_t observed[PROFILE_COUNTERS] = {0};
    for (int i = 1; i <= 10; i++) {
        reference[i] = 100;
        observed[i] = 5;
    }
    struct drift_score small = profile_score(reference, observed);
    assert_near(small.threshold, 21.666 * (1.0 / 50 + 1.0 / 1000)); /* ten bins: nine degrees of freedom */
    observed[12] = 50;
    assert_near(profile_score(reference, observed).threshold, 23.209 * (1.0 / 100 + 1.0 / 1000));
    assert_true(profile_score(reference, observed).drifted); /* half of the inputs cannot be read */
    observed[12] = 0;
    for (int i = 1; i <= 10; i++)
        observed[i] = 5000;
    assert_near(profile_score(reference, observed).threshold, 0.1);
}

/* Fraction of windows of n samples, shifted by so many sigmas, that are called drift; a new reference each time. */
static double alarm_rate(size_t reference_size, int window, double shift, uint64_t *seed)
{
    enum { WINDOWS = 1000 };
    float *samples = calloc(reference_size, sizeof *samples);
    assert_non_null(samples);
    int alarms = 0;
    for (int w = 0; w < WINDOWS; w++) {
        for (size_t i = 0; i < reference_size; i++)
            samples[i] = (float)normal(seed);
        cleanup_profile struct profile *p = NULL;
        assert_int_equal(profile_build(samples, reference_size, 1, &p, NULL), ERR_OK);
        const struct profile_feature *mean = profile_find(p, "mean");
        uint64_t counts[PROFILE_COUNTERS] = {0};
        for (int i = 0; i < window; i++)
            profile_count(mean->edges, normal(seed) + shift, counts);
        alarms += profile_score(mean->counts, counts).drifted;
    }
    free(samples);
    return (double)alarms / WINDOWS;
}

static void test_false_alarms_are_rare(void **state)
{
    (void)state;
    static const int windows[] = {30, 50, 100, 300, 1000};
    uint64_t seed = 1797;
    double sum = 0;
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
        double rate = alarm_rate(1000, windows[i], 0, &seed);
        assert_true(rate <= 0.02);
        sum += rate;
    }
    assert_true(sum > 0); /* the test would see an alarm */
}

static void test_shift_is_seen(void **state)
{
    (void)state;
    uint64_t seed = 540;
    assert_true(alarm_rate(1000, 100, 0.5, &seed) > 0.6);
    assert_true(alarm_rate(1000, 200, 0.5, &seed) > 0.95);
    assert_true(alarm_rate(1000, 50, 1, &seed) > 0.95);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_features),          cmocka_unit_test(test_bins),
        cmocka_unit_test(test_counts_are_capped), cmocka_unit_test(test_build),
        cmocka_unit_test(test_build_refuses),     cmocka_unit_test(test_json_round_trip),
        cmocka_unit_test(test_bad_json),          cmocka_unit_test(test_score_of_equal_is_zero),
        cmocka_unit_test(test_threshold),         cmocka_unit_test(test_false_alarms_are_rare),
        cmocka_unit_test(test_shift_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
