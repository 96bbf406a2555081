#pragma once
/* What happened: transitions with their reasons, update steps of devices, and things worth telling. Append-only. */

#include "server/db/db.h"

#include <jansson.h>

struct event_entry {
    const char *kind;      /* "rollout.state", "wave.state", "assignment.state", "device.update", "device.hold",
                              "alert.state", ... */
    const char *actor;     /* "system", "user:admin", "device:<id>" */
    const char *device_id; /* NULL: none */
    int64_t rollout_id;    /* 0: none */
    int wave;              /* 0: none */
    json_t *data;          /* borrowed; NULL: {} */
    int64_t t_ms;          /* when it happened, if that is not now; 0: now; never later than now */
};

/* Inside the caller's transaction, when there is one. */
[[nodiscard]] enum err event_add(struct db *db, const struct event_entry *entry, struct err_info *info);

/* The same for many, in one statement. count 0 does nothing. */
[[nodiscard]] enum err event_add_many(struct db *db, const struct event_entry *entries, size_t count,
                                      struct err_info *info);

/* JSON of openapi's EventPage, newest first. device_id NULL or rollout_id 0: of all. before_id 0: from the newest.
 * free() it. */
[[nodiscard]] enum err event_list(struct db *db, const char *device_id, int64_t rollout_id, int64_t limit,
                                  int64_t before_id, char **ret_json, struct err_info *info);
