#pragma once
/* When a device was last heard, and what it said of itself then. One narrow row per device. */

#include "server/core/device_id.h"
#include "server/core/presence.h"
#include "server/db/db.h"

#include <stdbool.h>
#include <stddef.h>

/* What the server knows of a device before it takes a message from it. */
struct device_standing {
    char id[DEVICE_ID_SIZE];
    int64_t generation; /* of its desired document; 0: it has none */
    double beat_s;      /* what it was last told to keep */
};

/* Standing of those of the ids (they may repeat) that are devices and not retired, by id. free() ret_found. */
[[nodiscard]] enum err liveness_standing(struct db *db, const char *const *ids, size_t count,
                                         struct device_standing **ret_found, size_t *ret_count, struct err_info *info);

struct liveness_change {
    const char *device_id; /* a device's; each at most once */
    struct presence presence;
    bool taken; /* out: false when a newer session or a later beat was known already, and nothing changed */
};

/* Inside the caller's transaction. beat_s: what devices are told to keep. Also writes the agent's version when a hello
 * brings a new one. */
[[nodiscard]] enum err liveness_apply(struct db *db, struct liveness_change *changes, size_t count, double beat_s,
                                      struct err_info *info);
