#pragma once
/* Rollouts as the API shows them, and what people do with them. */

#include "server/core/rollout.h"
#include "server/db/db.h"

/* Who asks, for events and the audit. Borrowed. */
struct rollout_actor {
    const char *name;    /* "user:admin" */
    const char *address; /* of the peer */
    const char *request_id;
};

/* JSON of openapi's listRollouts, newest first; before_id 0: from the newest. free() it. */
[[nodiscard]] enum err rollout_list(struct db *db, int64_t limit, int64_t before_id, char **ret_json,
                                    struct err_info *info);

/* JSON of openapi's Rollout. ERR_NOT_FOUND. free() it. */
[[nodiscard]] enum err rollout_show(struct db *db, int64_t rollout_id, char **ret_json, struct err_info *info);

/* ERR_NOT_FOUND when there is no such rollout. */
[[nodiscard]] enum err rollout_exists(struct db *db, int64_t rollout_id, struct err_info *info);

/* Does what a person asks, at once: what the devices should run is changed when this returns. reason: "" when none was
 * given. ERR_CONFLICT `wrong_state` with a sentence when it may not be done now. Runs its own transaction. */
[[nodiscard]] enum err rollout_act(struct db *db, int64_t rollout_id, enum rollout_action action, const char *reason,
                                   const struct rollout_actor *actor, struct err_info *info);
