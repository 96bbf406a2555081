#pragma once
/* Devices of rollouts: what is known about each, and the writing of decisions. */

#include "server/core/decide.h"
#include "server/db/db.h"

#include <jansson.h>

/* Devices about which something could be decided, as facts that borrow from rows. */
struct assignment_facts {
    struct rows *rows;
    struct device_fact *devices;
    size_t count;
};

/* Inside a transaction that has locked the rollout. assignment_facts_free() them. */
[[nodiscard]] enum err assignment_facts_read(struct db *db, int64_t rollout_id, struct assignment_facts *ret_facts,
                                             struct err_info *info);
void assignment_facts_free(struct assignment_facts *facts);

/* Writes what was decided about these devices, with an event each. ERR_CONFLICT when one is not in the state any more
 * that the decision was made for. Inside the same transaction. */
[[nodiscard]] enum err assignment_decide(struct db *db, int64_t rollout_id, const struct assignment_facts *facts,
                                         const struct decisions *decisions, const char *actor, struct err_info *info);

/* A new rollout's assignments. records: JSON array of {device, wave, state, previous}. */
[[nodiscard]] enum err assignment_add_many(struct db *db, int64_t rollout_id, const json_t *records,
                                           struct err_info *info);

/* JSON of openapi's listAssignments; state NULL: all. ERR_NOT_FOUND: no such rollout. free() it. */
[[nodiscard]] enum err assignment_list(struct db *db, int64_t rollout_id, const char *state, char **ret_json,
                                       struct err_info *info);
