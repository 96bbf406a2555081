#pragma once
/* Items of a data message (api/mqtt.md), checked and in types. Pure. Strings are borrowed from the JSON. Every error is
 * ERR_INVALID and names the field. Times are Unix milliseconds, 0 .. ITEM_T_MAX. */

#include "common/base/err.h"
#include "common/wire/histogram.h"
#include "common/wire/profile.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum item_kind { ITEM_HEALTH, ITEM_INFER, ITEM_DRIFT, ITEM_REPORT, ITEM_INVENTORY, ITEM_EVENT, ITEM_UNKNOWN };

enum { ITEMS_MAX = 5000, ITEM_TEMPS_MAX = 64, ITEM_FEATURES_MAX = PROFILE_FEATURES_MAX };
#define ITEM_T_MAX INT64_C(253402300799999) /* the last millisecond of the year 9999 */

/* A kind that is not known is ITEM_UNKNOWN and no error: newer agents may send more. */
[[nodiscard]] enum err item_kind_parse(const json_t *item, enum item_kind *ret_kind, struct err_info *info);

/* What could not be measured is NAN, or -1 for a number of bytes. */
struct item_health {
    int64_t t;
    double cpu; /* fraction 0..1 */
    double load1;
    int64_t memory_used, memory_total, disk_used, disk_total; /* bytes */
    size_t temp_count;
    struct item_temp {
        const char *name;
        double c;
        double trip_c; /* NAN: it has no trip point */
    } temps[ITEM_TEMPS_MAX];
    bool throttled;
    double throttled_fraction;   /* of the window, 0..1 */
    const char *throttle_reason; /* NULL: none */
};

[[nodiscard]] enum err item_health_parse(const json_t *item, struct item_health *ret_health, struct err_info *info);

struct item_infer {
    int64_t t; /* end of the window */
    int64_t window_ms;
    const char *slot, *bundle;
    int64_t count, errors, queue_max;
    struct histogram latency;
};

[[nodiscard]] enum err item_infer_parse(const json_t *item, struct item_infer *ret_infer, struct err_info *info);

struct item_drift {
    int64_t t;
    int64_t window_ms;
    const char *slot, *bundle;
    size_t feature_count;
    struct item_feature {
        const char *name;
        uint64_t counts[PROFILE_COUNTERS];
    } features[ITEM_FEATURES_MAX];
};

[[nodiscard]] enum err item_drift_parse(const json_t *item, struct item_drift *ret_drift, struct err_info *info);

struct item_report {
    int64_t t;
    const char *slot, *bundle, *step;
    const char *code, *detail; /* NULL: none */
};

[[nodiscard]] enum err item_report_parse(const json_t *item, struct item_report *ret_report, struct err_info *info);

struct item_event {
    int64_t t;
    const char *name;
    const char *slot, *detail; /* NULL: none */
};

[[nodiscard]] enum err item_event_parse(const json_t *item, struct item_event *ret_event, struct err_info *info);

/* Only what the server uses is checked; the whole item is kept. */
struct item_inventory {
    int64_t t;
    const char *hardware; /* "": not said */
    const char *agent_version;
};

[[nodiscard]] enum err item_inventory_parse(const json_t *item, struct item_inventory *ret_inventory,
                                            struct err_info *info);
