#pragma once
/* What a rollout would do, for people to look at first. */

#include "server/store/rollout_target.h"

/* JSON of openapi's RolloutPlan; writes nothing. Errors as in rollout_target.h. free() it. */
[[nodiscard]] enum err rollout_plan(struct db *db, const struct rollout_request *request, char **ret_json,
                                    struct err_info *info);
