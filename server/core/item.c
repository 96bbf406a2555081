#include "server/core/item.h"

#include "common/base/json.h"
#include "common/base/text.h"
#include "server/core/field.h"

#include <math.h>

#define CELSIUS_MAX 2000.0
#define LOAD_MAX 1e6

enum { HARDWARE_MAX = 128 };

static enum err time_parse(const json_t *item, int64_t *ret_t, struct err_info *info)
{
    return json_get_i64(item, "t", 0, ITEM_T_MAX, ret_t, info);
}

enum err item_kind_parse(const json_t *item, enum item_kind *ret_kind, struct err_info *info)
{
    static const char *const names[] = {
        [ITEM_HEALTH] = "health", [ITEM_INFER] = "infer",         [ITEM_DRIFT] = "drift",
        [ITEM_REPORT] = "report", [ITEM_INVENTORY] = "inventory", [ITEM_EVENT] = "event"};
    if (!json_is_object(item))
        return err_field(info, ERR_INVALID, "items", "an item must be an object");
    const char *kind = NULL;
    enum err e = field_name(item, "kind", &kind, info);
    if (e != ERR_OK)
        return e;
    *ret_kind = ITEM_UNKNOWN;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (text_eq(kind, names[i]))
            *ret_kind = (enum item_kind)i;
    return ERR_OK;
}

/* {"used", "total"} under key, bytes as strings; absent or null gives -1 twice. */
static enum err usage_parse(const json_t *item, const char *key, int64_t *ret_used, int64_t *ret_total,
                            struct err_info *info)
{
    *ret_used = *ret_total = -1;
    if (!json_has(item, key))
        return ERR_OK;
    json_t *usage = NULL;
    enum err e = json_get_object(item, key, &usage, info);
    if (e == ERR_OK)
        e = json_get_id(usage, "used", 0, ret_used, info);
    if (e == ERR_OK)
        e = json_get_id(usage, "total", 0, ret_total, info);
    return e;
}

static enum err temps_parse(const json_t *item, struct item_health *health, struct err_info *info)
{
    json_t *temps = NULL;
    enum err e = json_get_array(item, "temps", ITEM_TEMPS_MAX, &temps, info);
    for (size_t i = 0; e == ERR_OK && i < json_array_size(temps); i++) {
        const json_t *temp = json_array_get(temps, i);
        struct item_temp *out = &health->temps[health->temp_count++];
        if (!json_is_object(temp))
            return err_field(info, ERR_INVALID, "temps", "an entry of \"temps\" must be an object");
        e = field_name(temp, "name", &out->name, info);
        if (e == ERR_OK)
            e = field_measure(temp, "c", -CELSIUS_MAX, CELSIUS_MAX, &out->c, info);
        if (e == ERR_OK)
            e = field_measure(temp, "trip_c", -CELSIUS_MAX, CELSIUS_MAX, &out->trip_c, info);
    }
    return e;
}

enum err item_health_parse(const json_t *item, struct item_health *ret_health, struct err_info *info)
{
    struct item_health h = {0};
    enum err e = time_parse(item, &h.t, info);
    if (e == ERR_OK)
        e = field_measure(item, "cpu", 0, 1, &h.cpu, info);
    if (e == ERR_OK)
        e = field_measure(item, "load1", 0, LOAD_MAX, &h.load1, info);
    if (e == ERR_OK)
        e = usage_parse(item, "memory", &h.memory_used, &h.memory_total, info);
    if (e == ERR_OK)
        e = usage_parse(item, "disk", &h.disk_used, &h.disk_total, info);
    if (e == ERR_OK)
        e = temps_parse(item, &h, info);
    if (e == ERR_OK)
        e = json_get_bool(item, "throttled", &h.throttled, info);
    if (e == ERR_OK)
        e = json_get_f64(item, "throttled_fraction", 0, 1, &h.throttled_fraction, info);
    if (e == ERR_OK)
        e = field_text(item, "throttle_reason", FIELD_TEXT_MAX, &h.throttle_reason, info);
    if (e == ERR_OK)
        *ret_health = h;
    return e;
}

enum err item_infer_parse(const json_t *item, struct item_infer *ret_infer, struct err_info *info)
{
    struct item_infer f = {0};
    json_t *hist = NULL;
    enum err e = time_parse(item, &f.t, info);
    if (e == ERR_OK)
        e = json_get_i64(item, "window_ms", 0, FIELD_WINDOW_MAX_MS, &f.window_ms, info);
    if (e == ERR_OK)
        e = field_name(item, "slot", &f.slot, info);
    if (e == ERR_OK)
        e = field_bundle(item, "bundle", &f.bundle, info);
    if (e == ERR_OK)
        e = json_get_id(item, "count", 0, &f.count, info);
    if (e == ERR_OK)
        e = json_get_id(item, "errors", 0, &f.errors, info);
    if (e == ERR_OK)
        e = json_get_i64(item, "queue_max", 0, INT32_MAX, &f.queue_max, info);
    if (e == ERR_OK)
        e = json_get_object(item, "hist", &hist, info);
    if (e == ERR_OK)
        e = histogram_from_json(hist, &f.latency, info);
    if (e == ERR_OK)
        *ret_infer = f;
    return e;
}

static enum err features_parse(const json_t *item, struct item_drift *drift, struct err_info *info)
{
    json_t *features = NULL;
    enum err e = json_get_array(item, "features", ITEM_FEATURES_MAX, &features, info);
    for (size_t i = 0; e == ERR_OK && i < json_array_size(features); i++) {
        const json_t *feature = json_array_get(features, i);
        struct item_feature *out = &drift->features[drift->feature_count++];
        json_t *counts = NULL;
        if (!json_is_object(feature))
            return err_field(info, ERR_INVALID, "features", "an entry of \"features\" must be an object");
        e = field_name(feature, "name", &out->name, info);
        if (e == ERR_OK)
            e = json_get_array(feature, "counts", PROFILE_COUNTERS, &counts, info);
        if (e == ERR_OK)
            e = profile_counts_from_json(counts, out->counts, info);
    }
    return e;
}

enum err item_drift_parse(const json_t *item, struct item_drift *ret_drift, struct err_info *info)
{
    struct item_drift d = {0};
    enum err e = time_parse(item, &d.t, info);
    if (e == ERR_OK)
        e = json_get_i64(item, "window_ms", 0, FIELD_WINDOW_MAX_MS, &d.window_ms, info);
    if (e == ERR_OK)
        e = field_name(item, "slot", &d.slot, info);
    if (e == ERR_OK)
        e = field_bundle(item, "bundle", &d.bundle, info);
    if (e == ERR_OK)
        e = features_parse(item, &d, info);
    if (e == ERR_OK)
        *ret_drift = d;
    return e;
}

enum err item_report_parse(const json_t *item, struct item_report *ret_report, struct err_info *info)
{
    static const char *const steps[] = {"offered",  "downloaded", "verified",  "staged", "tested",      "held",
                                        "released", "switched",   "committed", "failed", "rolled_back", NULL};
    struct item_report r = {0};
    enum err e = time_parse(item, &r.t, info);
    if (e == ERR_OK)
        e = field_name(item, "slot", &r.slot, info);
    if (e == ERR_OK)
        e = field_bundle(item, "bundle", &r.bundle, info);
    if (e == ERR_OK)
        e = field_word(item, "step", steps, &r.step, info);
    if (e == ERR_OK)
        e = field_text(item, "code", FIELD_NAME_MAX, &r.code, info);
    if (e == ERR_OK)
        e = field_text(item, "detail", FIELD_TEXT_MAX, &r.detail, info);
    if (e == ERR_OK)
        *ret_report = r;
    return e;
}

enum err item_event_parse(const json_t *item, struct item_event *ret_event, struct err_info *info)
{
    struct item_event v = {0};
    enum err e = time_parse(item, &v.t, info);
    if (e == ERR_OK)
        e = field_name(item, "name", &v.name, info);
    if (e == ERR_OK)
        e = field_text(item, "slot", FIELD_NAME_MAX, &v.slot, info);
    if (e == ERR_OK)
        e = field_text(item, "detail", FIELD_TEXT_MAX, &v.detail, info);
    if (e == ERR_OK)
        *ret_event = v;
    return e;
}

enum err item_inventory_parse(const json_t *item, struct item_inventory *ret_inventory, struct err_info *info)
{
    struct item_inventory v = {0};
    enum err e = time_parse(item, &v.t, info);
    if (e == ERR_OK)
        e = field_text(item, "hardware", HARDWARE_MAX, &v.hardware, info);
    if (e == ERR_OK)
        e = json_get_text(item, "agent_version", FIELD_NAME_MAX, &v.agent_version, info);
    if (e != ERR_OK)
        return e;
    if (v.hardware == NULL)
        v.hardware = "";
    *ret_inventory = v;
    return ERR_OK;
}
