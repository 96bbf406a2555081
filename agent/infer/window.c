#include "agent/infer/window.h"

#include "common/base/json.h"

#include <string.h>

struct window window_start(int64_t now_us, const struct profile *profile)
{
    struct window w = {.start_us = now_us};
    for (int f = 0; profile != NULL && f < FEATURE_COUNT_; f++) {
        const struct profile_feature *reference = profile_find(profile, feature_name((enum feature)f));
        if (reference != NULL)
            w.features[w.feature_count++] = (struct window_feature){.feature = (enum feature)f, .reference = reference};
    }
    return w;
}

void window_add_input(struct window *w, const float *values, size_t len)
{
    if (w->feature_count == 0)
        return;
    double of_input[FEATURE_COUNT_];
    features_of_tensor(values, len, of_input);
    for (size_t i = 0; i < w->feature_count; i++)
        profile_count(w->features[i].reference->edges, of_input[w->features[i].feature], w->features[i].counts);
}

void window_add_success(struct window *w, int64_t latency_us)
{
    w->count++;
    histogram_add(&w->latency, latency_us);
}

void window_add_error(struct window *w)
{
    w->count++;
    w->errors++;
}

void window_add_waiting(struct window *w, int64_t waiting)
{
    if (waiting > w->queue_max)
        w->queue_max = waiting;
}

static json_t *features_to_json(const struct window *w)
{
    json_t *features = json_array();
    for (size_t i = 0; i < w->feature_count; i++) {
        json_t *feature = json_pack("{s:s, s:o}", "name", w->features[i].reference->name, "counts",
                                    profile_counts_to_json(w->features[i].counts));
        if (json_array_append_new(features, feature) != 0) {
            json_decref(features);
            return NULL;
        }
    }
    return features;
}

json_t *window_take(struct window *w, int64_t now_us)
{
    json_t *taken =
        json_pack("{s:I, s:o, s:o, s:I, s:o, s:o}", "window_ms", (json_int_t)((now_us - w->start_us) / 1000), "count",
                  json_id((int64_t)w->count), "errors", json_id((int64_t)w->errors), "queue_max",
                  (json_int_t)w->queue_max, "hist", histogram_to_json(&w->latency), "features", features_to_json(w));
    if (taken == NULL)
        return NULL;
    w->start_us = now_us;
    w->count = 0;
    w->errors = 0;
    w->queue_max = 0;
    w->latency = (struct histogram){0};
    for (size_t i = 0; i < w->feature_count; i++)
        memset(w->features[i].counts, 0, sizeof w->features[i].counts);
    return taken;
}
