#pragma once
/* Writes that move a rollout or a wave to another state, each with its event. The caller is in a transaction, has
 * locked the rollout's row, and knows from the tables of core/rollout.h that the move is one. ERR_CONFLICT
 * `state_changed` when the row is not in `from` any more. */

#include "server/core/decide.h"
#include "server/db/db.h"

/* reason: a sentence, kept with the rollout. actor: who or what moved it. */
[[nodiscard]] enum err rollout_move(struct db *db, int64_t rollout_id, enum rollout_state from, enum rollout_state to,
                                    const char *reason, const char *actor, struct err_info *info);

[[nodiscard]] enum err wave_move(struct db *db, int64_t rollout_id, const struct wave_decision *move, const char *actor,
                                 struct err_info *info);
