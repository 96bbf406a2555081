#pragma once
/* Holds: a device that is held stages updates and then waits. A hold is part of the desired document, so each change
 * raises its generation. */

#include "server/db/db.h"

/* SQL expression: openapi's Hold of a row h. */
#define HOLD_JSON_SQL                                                                                                  \
    "jsonb_build_object('id', h.id::text, 'source', h.source, 'reason', h.reason, 'owner', h.owner,"                   \
    " 'since', ms(h.since), 'expires_at', ms(h.expires_at), 'then', h.on_expiry)"

struct hold_request {
    const char *device_id;
    const char *reason;
    const char *owner;     /* "user:admin" */
    int64_t expires_in_s;  /* 0: never */
    const char *on_expiry; /* "apply" or "cancel" */
};

/* Inside the caller's transaction. ret_json: openapi's Hold; free() it. ERR_CONFLICT with code `already_held`, naming
 * who holds it. */
[[nodiscard]] enum err hold_add(struct db *db, const struct hold_request *request, char **ret_json,
                                struct err_info *info);

/* Inside the caller's transaction: ends every open hold of the device. ret_json: those holds, an array; free() it.
 * NULL: there was none, and nothing changed. */
[[nodiscard]] enum err hold_release(struct db *db, const char *device_id, const char *released_by, char **ret_json,
                                    struct err_info *info);

/* Inside the caller's transaction: ends holds that have run out, with an event each. One that says `cancel` stays until
 * the rollout has taken back the update that waited for it. */
[[nodiscard]] enum err hold_expire(struct db *db, struct err_info *info);
