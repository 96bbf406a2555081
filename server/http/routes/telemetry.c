#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "server/core/item.h"
#include "server/core/series.h"
#include "server/http/routes/routes.h"
#include "server/store/device.h"
#include "server/store/drift.h"
#include "server/store/health.h"
#include "server/store/infer.h"

#include <string.h>

/* The device and the time range that a request is about. */
struct question {
    char device[DEVICE_ID_SIZE];
    int64_t from, to;
};

static enum err question_read(struct call *c, struct question *ret_question)
{
    struct question q;
    enum err e = call_query_i64(c, "to", 0, ITEM_T_MAX, clock_wall_ms(), &q.to);
    if (e == ERR_OK)
        e = call_query_i64(c, "from", 0, ITEM_T_MAX, q.to > SERIES_DEFAULT_MS ? q.to - SERIES_DEFAULT_MS : 0, &q.from);
    if (e == ERR_OK && q.from > q.to)
        e = err_field(&c->info, ERR_INVALID, "from", "from must not be later than to");
    if (e == ERR_OK)
        e = device_find(c->db, call_path(c, "id"), q.device, &c->info);
    if (e == ERR_OK)
        *ret_question = q;
    return e;
}

static enum err handle_health(struct call *c)
{
    struct question q;
    cleanup_free char *json = NULL;
    enum err e = question_read(c, &q);
    if (e == ERR_OK)
        e = health_series(c->db, q.device, q.from, q.to, series_step_ms(q.from, q.to), &json, &c->info);
    return e == ERR_OK ? call_answer_text(c, 200, json) : e;
}

/* ---------------------------------------------------------------- inference */

/* Milliseconds, or null when nothing was counted. */
static json_t *quantile_json(const struct histogram *latency, double q)
{
    double us = histogram_quantile_us(latency, q);
    return us < 0 ? json_null() : json_real(us / 1000);
}

/* openapi's InferenceFigures. */
static json_t *figures_json(const struct infer_window *w)
{
    return json_pack("{s:I, s:I, s:o, s:o, s:o}", "count", (json_int_t)w->count, "errors", (json_int_t)w->errors,
                     "p50_ms", quantile_json(&w->latency, 0.50), "p95_ms", quantile_json(&w->latency, 0.95), "p99_ms",
                     quantile_json(&w->latency, 0.99));
}

static json_t *window_json(const struct infer_window *w)
{
    json_t *json = figures_json(w);
    json_auto_t *more =
        json_pack("{s:I, s:I, s:s, s:s, s:s?}", "t", (json_int_t)w->t, "window_ms", (json_int_t)w->window_ms, "slot",
                  w->slot, "bundle", w->bundle, "version", w->version);
    if (json != NULL && more != NULL && json_object_update(json, more) == 0)
        return json;
    json_decref(json);
    return NULL;
}

static json_t *inference_json(const struct question *q, const struct infer_series *series)
{
    json_t *windows = json_array();
    struct infer_window total = {0};
    for (size_t i = 0; i < series->count; i++) {
        const struct infer_window *w = &series->windows[i];
        total.count += w->count;
        total.errors += w->errors;
        histogram_merge(&total.latency, &w->latency);
        if (json_array_append_new(windows, window_json(w)) != 0) {
            json_decref(windows);
            return NULL;
        }
    }
    return json_pack("{s:I, s:I, s:o, s:o}", "from", (json_int_t)q->from, "to", (json_int_t)q->to, "total",
                     figures_json(&total), "windows", windows);
}

static enum err handle_inference(struct call *c)
{
    struct question q;
    cleanup_infer_series struct infer_series series = {0};
    enum err e = question_read(c, &q);
    if (e == ERR_OK)
        e = infer_series_read(c->db, q.device, q.from, q.to, series_step_ms(q.from, q.to), &series, &c->info);
    return e == ERR_OK ? call_answer_json(c, 200, inference_json(&q, &series)) : e;
}

/* ---------------------------------------------------------------- drift */

/* The reference of the bundle that sum is of, or NULL: it has none, or one that this version cannot read. */
static struct profile *reference_of(const struct drift_sum *sum)
{
    json_auto_t *json = NULL;
    struct profile *profile = NULL;
    if (sum->profile != NULL && json_parse(sum->profile, strlen(sum->profile), JSON_BYTES_MAX, &json, NULL) == ERR_OK &&
        profile_from_json(json, &profile, NULL) == ERR_OK)
        return profile;
    return NULL;
}

static json_t *edges_json(const struct profile_feature *reference)
{
    json_t *edges = json_array();
    for (size_t i = 0; reference != NULL && i < PROFILE_EDGES; i++)
        if (json_array_append_new(edges, json_real(reference->edges[i])) != 0) {
            json_decref(edges);
            return NULL;
        }
    return edges;
}

/* One entry of openapi's Drift. Without a reference, or samples, there is no score. */
static json_t *feature_json(const struct drift_sum *sum, const struct profile *profile)
{
    const struct profile_feature *reference = profile == NULL ? NULL : profile_find(profile, sum->feature);
    struct drift_score score = {0};
    if (reference != NULL)
        score = profile_score(reference->counts, sum->counts);
    for (size_t i = 0; reference == NULL && i < PROFILE_COUNTERS; i++)
        score.samples += sum->counts[i];
    bool scored = reference != NULL && score.samples > 0;
    return json_pack("{s:s, s:s, s:s?, s:s, s:I, s:o, s:o, s:b, s:o, s:o, s:o}", "slot", sum->slot, "bundle",
                     sum->bundle, "version", sum->version, "feature", sum->feature, "samples",
                     (json_int_t)score.samples, "psi", scored ? json_real(score.psi) : json_null(), "threshold",
                     scored ? json_real(score.threshold) : json_null(), "drifted", (int)(scored && score.drifted),
                     "edges", edges_json(reference), "counts", profile_counts_to_json(sum->counts), "reference",
                     reference == NULL ? json_array() : profile_counts_to_json(reference->counts));
}

static json_t *drift_json(const struct question *q, const struct drift_sums *sums)
{
    json_t *features = json_array();
    cleanup_profile struct profile *profile = NULL;
    for (size_t i = 0; i < sums->count; i++) {
        const struct drift_sum *sum = &sums->sums[i];
        if (i == 0 || strcmp(sum->bundle, sums->sums[i - 1].bundle) != 0) {
            profile_free(profile);
            profile = reference_of(sum);
        }
        if (json_array_append_new(features, feature_json(sum, profile)) != 0) {
            json_decref(features);
            return NULL;
        }
    }
    return json_pack("{s:I, s:I, s:o}", "from", (json_int_t)q->from, "to", (json_int_t)q->to, "features", features);
}

static enum err handle_drift(struct call *c)
{
    struct question q;
    cleanup_drift_sums struct drift_sums sums = {0};
    enum err e = question_read(c, &q);
    if (e == ERR_OK)
        e = drift_sums_read(c->db, q.device, q.from, q.to, &sums, &c->info);
    return e == ERR_OK ? call_answer_json(c, 200, drift_json(&q, &sums)) : e;
}

static const struct route routes[] = {
    {"GET", "/api/v1/devices/{id}/health", PERMIT_READ, BODY_NONE, handle_health},
    {"GET", "/api/v1/devices/{id}/inference", PERMIT_READ, BODY_NONE, handle_inference},
    {"GET", "/api/v1/devices/{id}/drift", PERMIT_READ, BODY_NONE, handle_drift},
};
const struct route_table routes_telemetry = {routes, sizeof routes / sizeof routes[0]};
