#pragma once
/* The messages and items a device sends (api/mqtt.md), as JSON text. Pure. Every ret_text is free()d by the caller;
 * the only error is ERR_NO_MEMORY. Details that are not UTF-8 lose what is not ASCII. */

#include "agent/core/update.h"
#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct up_hello {
    int64_t session;
    const char *boot_id;
    int64_t generation;
    const char *epoch;
    int64_t first, last; /* batches that wait for an ack; first > last when none does */
};
[[nodiscard]] enum err up_hello(const struct up_hello *hello, char **ret_text);

[[nodiscard]] enum err up_gone(int64_t session, char **ret_text);

struct up_slot {
    const struct update_row *row;
    const char *running; /* bundle, NULL when none runs */
    int64_t size;        /* of the object that is being downloaded, 0 when unknown */
};
struct up_beat {
    int64_t session, t, uptime_s, generation;
    bool has_margin;
    double margin_c;
    bool throttled;
    const struct up_slot *slots;
    size_t slot_count;
};
[[nodiscard]] enum err up_beat(const struct up_beat *beat, char **ret_text);

/* Items of a batch. code and detail may be NULL. */
[[nodiscard]] enum err up_report(int64_t t, const char *slot, const char *bundle, const char *step, const char *code,
                                 const char *detail, char **ret_text);
/* slot may be NULL. */
[[nodiscard]] enum err up_event(int64_t t, const char *name, const char *slot, const char *detail, char **ret_text);
