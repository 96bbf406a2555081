#pragma once
/* What devices send (api/mqtt.md), checked and in types. Pure. Strings are borrowed from the JSON. Every error is
 * ERR_INVALID and names the field. */

#include "common/base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hello {
    int64_t session; /* >= 1 */
    const char *boot_id;
    const char *agent_version;
    int64_t generation; /* of the desired document it has seen; 0: none */
};

[[nodiscard]] enum err hello_parse(const json_t *json, struct hello *ret_hello, struct err_info *info);

enum { BEAT_SLOTS_MAX = 64 };

struct beat_slot {
    const char *name;
    const char *phase;
    const char *target, *running, *previous;         /* bundles; NULL: none */
    int64_t progress;                                /* percent, 0..100 */
    int64_t downloaded;                              /* bytes */
    const char *stage, *code, *detail, *device_left; /* NULL: nothing failed */
};

struct beat {
    int64_t session;
    int64_t uptime_s;
    int64_t generation;
    double margin_c; /* NAN: no sensor has a trip point */
    bool throttled;
    size_t slot_count;
    struct beat_slot slots[BEAT_SLOTS_MAX];
};

[[nodiscard]] enum err beat_parse(const json_t *json, struct beat *ret_beat, struct err_info *info);

struct gone {
    int64_t session;
};

[[nodiscard]] enum err gone_parse(const json_t *json, struct gone *ret_gone, struct err_info *info);

/* The outside of a data message; its items: item.h. */
struct batch {
    const char *epoch; /* 1..63 characters of [A-Za-z0-9_-] */
    int64_t seq;       /* >= 1 */
};

[[nodiscard]] enum err batch_parse(const json_t *json, struct batch *ret_batch, struct err_info *info);
