#pragma once
/* Who did what. Every request that changes something writes one row in the same transaction. */

#include "server/db/db.h"

#include <jansson.h>

struct audit_entry {
    const char *actor;   /* "user:admin" */
    const char *action;  /* "rollout.pause" */
    const char *target;  /* "rollout:42" */
    const char *address; /* of the peer */
    const char *request_id;
    const json_t *before; /* NULL: nothing */
    const json_t *after;
};

/* Inside the caller's transaction. */
[[nodiscard]] enum err audit_add(struct db *db, const struct audit_entry *entry, struct err_info *info);

/* JSON of openapi's listAudit, newest first; before_id 0: from the newest. free() it. */
[[nodiscard]] enum err audit_list(struct db *db, int64_t limit, int64_t before_id, char **ret_json,
                                  struct err_info *info);
