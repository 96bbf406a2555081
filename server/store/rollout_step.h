#pragma once
/* One step of one rollout: its facts are read, the core decides, the decisions are written; all in the caller's
 * transaction, behind a lock on the rollout's row, so that nobody decides on facts that somebody else is changing. */

#include "server/core/rollout.h"
#include "server/db/db.h"

#include <stdbool.h>
#include <stdint.h>

struct rollout_step {
    bool changed;             /* something was decided */
    bool moved;               /* the rollout itself went to another state */
    enum rollout_state state; /* as it is now */
};

/* actor: on whose behalf, for the events. ERR_NOT_FOUND: no such rollout. */
[[nodiscard]] enum err rollout_step(struct db *db, int64_t rollout_id, const char *actor, struct rollout_step *ret_step,
                                    struct err_info *info);

/* Rollouts for which something could be decided now: ids in column 0, oldest first. rows_free() them. */
[[nodiscard]] enum err rollout_due(struct db *db, struct rows **ret_rows, struct err_info *info);
