#pragma once
/* New rollouts. */

#include "server/store/rollout_target.h"

/* Creates and starts the rollout, and supersedes older unfinished ones of the slot. Inside the caller's transaction.
 * actor: who, for the events. Errors as in rollout_target.h. */
[[nodiscard]] enum err rollout_create(struct db *db, const struct rollout_request *request, const char *actor,
                                      int64_t *ret_id, struct err_info *info);
