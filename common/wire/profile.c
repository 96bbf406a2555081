#include "common/wire/profile.h"

#include "common/base/json.h"
#include "common/base/text.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BIN_UNDER = 0, BIN_FIRST = 1, BIN_LAST = 10, BIN_OVER = 11, BIN_MISSING = 12 };

const char *feature_name(enum feature f)
{
    static const char *const names[FEATURE_COUNT_] = {
        [FEATURE_MEAN] = "mean",
        [FEATURE_STD] = "std",
        [FEATURE_MIN] = "min",
        [FEATURE_MAX] = "max",
        [FEATURE_ZERO_FRACTION] = "zero_fraction",
    };
    return names[f];
}

void features_of_tensor(const float *values, size_t n, double ret_features[FEATURE_COUNT_])
{
    double sum = 0;
    double min = INFINITY;
    double max = -INFINITY;
    size_t zeros = 0;
    bool finite = true;
    for (size_t i = 0; i < n; i++) {
        double v = (double)values[i];
        finite = finite && isfinite(v);
        sum += v;
        min = fmin(min, v);
        max = fmax(max, v);
        zeros += v == 0;
    }
    double mean = sum / (double)n;
    double squares = 0; /* around the mean: no cancellation */
    for (size_t i = 0; i < n; i++)
        squares += ((double)values[i] - mean) * ((double)values[i] - mean);
    ret_features[FEATURE_MEAN] = finite ? mean : NAN;
    ret_features[FEATURE_STD] = finite ? sqrt(squares / (double)n) : NAN;
    ret_features[FEATURE_MIN] = finite ? min : NAN;
    ret_features[FEATURE_MAX] = finite ? max : NAN;
    ret_features[FEATURE_ZERO_FRACTION] = finite ? (double)zeros / (double)n : NAN;
}

static int bin_of(const double edges[PROFILE_EDGES], double value)
{
    if (!isfinite(value))
        return BIN_MISSING;
    if (value < edges[0])
        return BIN_UNDER;
    /* Equal edges (a feature with few values) leave empty bins between them: the first that takes the value has it. */
    int bin = BIN_FIRST;
    while (bin <= BIN_LAST && value > edges[bin])
        bin++;
    return bin;
}

static uint64_t add_capped(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

void profile_count(const double edges[PROFILE_EDGES], double value, uint64_t counts[PROFILE_COUNTERS])
{
    uint64_t *count = &counts[bin_of(edges, value)];
    *count = add_capped(*count, 1);
}

void profile_counts_merge(uint64_t into[PROFILE_COUNTERS], const uint64_t from[PROFILE_COUNTERS])
{
    for (int i = 0; i < PROFILE_COUNTERS; i++)
        into[i] = add_capped(into[i], from[i]);
}

struct profile *profile_free(struct profile *p)
{
    if (p != NULL)
        free(p->features);
    free(p);
    return NULL;
}

static struct profile *profile_new(size_t count)
{
    struct profile *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->features = calloc(count, sizeof *p->features);
    if (p->features == NULL)
        return profile_free(p);
    p->count = count;
    return p;
}

const struct profile_feature *profile_find(const struct profile *p, const char *name)
{
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->features[i].name, name) == 0)
            return &p->features[i];
    return NULL;
}

/* ---------------------------------------------------------------- building */

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* values[count], sorted here; those that are not finite are skipped. Deciles are interpolated between neighbours. */
static enum err feature_measure(struct profile_feature *f, double *values, size_t count, struct err_info *info)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        if (isfinite(values[i]))
            values[n++] = values[i];
    if (n < PROFILE_SAMPLES_MIN)
        return err_set(info, ERR_INVALID,
                       "a reference profile needs at least %d samples without NaN or infinite values; there are %zu",
                       PROFILE_SAMPLES_MIN, n);
    qsort(values, n, sizeof *values, compare_doubles);
    for (int i = 0; i < PROFILE_EDGES; i++) {
        double place = (double)i / (PROFILE_EDGES - 1) * (double)(n - 1);
        size_t left = (size_t)place;
        size_t right = left + 1 < n ? left + 1 : left;
        double fraction = place - (double)left;
        double between = values[left] * (1 - fraction) + values[right] * fraction;
        f->edges[i] = fmin(fmax(between, values[left]), values[right]); /* rounding must not leave the interval */
    }
    for (size_t i = 0; i < n; i++)
        profile_count(f->edges, values[i], f->counts);
    f->counts[BIN_MISSING] = count - n;
    return ERR_OK;
}

enum err profile_build(const float *samples, size_t count, size_t len, struct profile **ret_profile,
                       struct err_info *info)
{
    if (count < PROFILE_SAMPLES_MIN || len == 0)
        return err_set(info, ERR_INVALID, "a reference profile needs at least %d samples; there are %zu",
                       PROFILE_SAMPLES_MIN, len == 0 ? 0 : count);
    struct profile *p = profile_new(FEATURE_COUNT_);
    double *values = calloc(count, FEATURE_COUNT_ * sizeof *values); /* feature by feature */
    enum err e = p == NULL || values == NULL ? ERR_NO_MEMORY : ERR_OK;
    for (size_t i = 0; e == ERR_OK && i < count; i++) {
        double of_sample[FEATURE_COUNT_];
        features_of_tensor(samples + i * len, len, of_sample);
        for (size_t f = 0; f < FEATURE_COUNT_; f++)
            values[f * count + i] = of_sample[f];
    }
    for (size_t f = 0; e == ERR_OK && f < FEATURE_COUNT_; f++) {
        (void)text_copy(p->features[f].name, sizeof p->features[f].name, feature_name((enum feature)f));
        e = feature_measure(&p->features[f], values + f * count, count, info);
    }
    free(values);
    if (e != ERR_OK) {
        profile_free(p);
        return e;
    }
    *ret_profile = p;
    return ERR_OK;
}

/* ---------------------------------------------------------------- JSON */

json_t *profile_counts_to_json(const uint64_t counts[PROFILE_COUNTERS])
{
    json_t *array = json_array();
    for (int i = 0; i < PROFILE_COUNTERS; i++) {
        uint64_t count = counts[i] < PROFILE_JSON_MAX ? counts[i] : PROFILE_JSON_MAX;
        if (json_array_append_new(array, json_integer((json_int_t)count)) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

enum err profile_counts_from_json(const json_t *json, uint64_t ret_counts[PROFILE_COUNTERS], struct err_info *info)
{
    if (!json_is_array(json) || json_array_size(json) != PROFILE_COUNTERS)
        return err_field(info, ERR_INVALID, "counts", "\"counts\" must be an array of %d whole numbers",
                         PROFILE_COUNTERS);
    uint64_t counts[PROFILE_COUNTERS];
    for (size_t i = 0; i < PROFILE_COUNTERS; i++) {
        const json_t *count = json_array_get(json, i);
        if (!json_is_integer(count) || json_integer_value(count) < 0 || json_integer_value(count) > PROFILE_JSON_MAX)
            return err_field(info, ERR_INVALID, "counts", "\"counts\"[%zu] must be a whole number from 0 to %d", i,
                             PROFILE_JSON_MAX);
        counts[i] = (uint64_t)json_integer_value(count);
    }
    memcpy(ret_counts, counts, sizeof counts);
    return ERR_OK;
}

static uint64_t counts_sum(const uint64_t counts[PROFILE_COUNTERS])
{
    uint64_t sum = 0;
    for (int i = 0; i < PROFILE_COUNTERS; i++)
        sum = add_capped(sum, counts[i]);
    return sum;
}

static enum err edges_from_json(const json_t *object, double ret_edges[PROFILE_EDGES], struct err_info *info)
{
    json_t *edges = NULL;
    enum err e = json_get_array(object, "edges", PROFILE_EDGES, &edges, info);
    if (e != ERR_OK)
        return e;
    for (size_t i = 0; i < PROFILE_EDGES; i++) {
        const json_t *edge = json_array_get(edges, i);
        double value = json_number_value(edge);
        if (!json_is_number(edge) || !isfinite(value) || (i > 0 && value < ret_edges[i - 1]))
            return err_field(info, ERR_INVALID, "edges", "\"edges\" must be %d numbers that never fall; see entry %zu",
                             PROFILE_EDGES, i);
        ret_edges[i] = value;
    }
    return ERR_OK;
}

static enum err feature_from_json(const json_t *json, struct profile_feature *f, struct err_info *info)
{
    const char *name = NULL;
    int64_t samples = 0;
    enum err e = json_get_text(json, "name", PROFILE_NAME_MAX - 1, &name, info);
    if (e == ERR_OK)
        e = json_get_i64(json, "samples", 1, INT64_MAX, &samples, info);
    if (e == ERR_OK)
        e = edges_from_json(json, f->edges, info);
    if (e == ERR_OK)
        e = profile_counts_from_json(json_object_get(json, "counts"), f->counts, info);
    if (e != ERR_OK)
        return e;
    if (name[0] == '\0')
        return err_field(info, ERR_INVALID, "name", "\"name\" of a feature must not be empty");
    if (counts_sum(f->counts) != (uint64_t)samples)
        return err_field(info, ERR_INVALID, "samples", "\"samples\" of feature %s must be the sum of its counts", name);
    (void)text_copy(f->name, sizeof f->name, name);
    return ERR_OK;
}

enum err profile_from_json(const json_t *json, struct profile **ret_profile, struct err_info *info)
{
    json_t *features = NULL;
    enum err e = json_get_array(json, "features", PROFILE_FEATURES_MAX, &features, info);
    if (e != ERR_OK)
        return e;
    size_t count = json_array_size(features);
    if (count == 0)
        return err_field(info, ERR_INVALID, "features", "\"features\" of a profile must not be empty");
    struct profile *p = profile_new(count);
    if (p == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; e == ERR_OK && i < count; i++) {
        e = feature_from_json(json_array_get(features, i), &p->features[i], info);
        if (e == ERR_OK && profile_find(p, p->features[i].name) != &p->features[i])
            e = err_field(info, ERR_INVALID, "features", "feature %s is there twice", p->features[i].name);
    }
    if (e != ERR_OK) {
        profile_free(p);
        return e;
    }
    *ret_profile = p;
    return ERR_OK;
}

static json_t *feature_to_json(const struct profile_feature *f)
{
    json_t *edges = json_array();
    for (int i = 0; i < PROFILE_EDGES; i++)
        if (json_array_append_new(edges, json_real(f->edges[i])) != 0) {
            json_decref(edges);
            return NULL;
        }
    return json_pack("{s:s, s:o, s:o, s:I}", "name", f->name, "edges", edges, "counts",
                     profile_counts_to_json(f->counts), "samples", (json_int_t)counts_sum(f->counts));
}

json_t *profile_to_json(const struct profile *p)
{
    json_t *features = json_array();
    for (size_t i = 0; i < p->count; i++)
        if (json_array_append_new(features, feature_to_json(&p->features[i])) != 0) {
            json_decref(features);
            return NULL;
        }
    return json_pack("{s:o}", "features", features);
}

/* ---------------------------------------------------------------- score */

/* 0.99 quantile of the chi-square distribution by degrees of freedom (NIST/SEMATECH e-Handbook, 1.3.6.7.4). */
static const double chi2_99[PROFILE_COUNTERS] = {0,      6.635,  9.210,  11.345, 13.277, 15.086, 16.812,
                                                 18.475, 20.090, 21.666, 23.209, 24.725, 26.217};

/* PSI = sum of (a - e) * ln(a / e) over the bins' fractions a (observed) and e (reference): B. Yurdakul, "Statistical
 * Properties of Population Stability Index" (2018), which also shows that without drift PSI is distributed as
 * chi-square with B - 1 degrees of freedom times (1/n + 1/N). So the usual fixed limit of 0.1 alone would fire on most
 * small windows. Half a count is added to every bin, so that an empty one has a logarithm; bins that are empty on both
 * sides say nothing and are left out. */
struct drift_score profile_score(const uint64_t reference[PROFILE_COUNTERS], const uint64_t observed[PROFILE_COUNTERS])
{
    struct drift_score score = {.samples = counts_sum(observed)};
    double n = (double)score.samples;
    double big_n = (double)counts_sum(reference);
    if (n == 0 || big_n == 0)
        return (struct drift_score){0};
    int bins = 0;
    for (int i = 0; i < PROFILE_COUNTERS; i++)
        bins += reference[i] > 0 || observed[i] > 0;
    for (int i = 0; i < PROFILE_COUNTERS; i++) {
        if (reference[i] == 0 && observed[i] == 0)
            continue;
        double a = ((double)observed[i] + 0.5) / (n + 0.5 * bins);
        double e = ((double)reference[i] + 0.5) / (big_n + 0.5 * bins);
        score.psi += (a - e) * log(a / e);
    }
    score.threshold = fmax(0.1, chi2_99[bins - 1] * (1 / n + 1 / big_n));
    score.drifted = score.psi >= score.threshold;
    return score;
}
