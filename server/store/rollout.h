#pragma once
/* Rollouts as the API shows them, and what people do with them. */

#include "server/core/rollout.h"
#include "server/db/db.h"

/* JSON of openapi's listRollouts, newest first; before_id 0: from the newest. free() it. */
[[nodiscard]] enum err rollout_list(struct db *db, int64_t limit, int64_t before_id, char **ret_json,
                                    struct err_info *info);

/* JSON of openapi's Rollout. ERR_NOT_FOUND. free() it. */
[[nodiscard]] enum err rollout_show(struct db *db, int64_t rollout_id, char **ret_json, struct err_info *info);

/* ERR_NOT_FOUND when there is no such rollout. */
[[nodiscard]] enum err rollout_exists(struct db *db, int64_t rollout_id, struct err_info *info);

/* Does what a person asks, at once: what the devices should run is changed when this returns, and the events are
 * written. Inside the caller's transaction. reason: "" when none was given. actor: who, for the events. ERR_CONFLICT
 * `wrong_state` with a sentence when it may not be done now. ret_from, ret_to: for the audit. */
[[nodiscard]] enum err rollout_act(struct db *db, int64_t rollout_id, enum rollout_action action, const char *reason,
                                   const char *actor, enum rollout_state *ret_from, enum rollout_state *ret_to,
                                   struct err_info *info);
