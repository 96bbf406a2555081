#pragma once
/* One of many musterd acts at a time: an advisory lock of the session says who, and an epoch in every deciding
 * transaction stops one that has lost the lock without noticing. */

#include "server/db/db.h"

#include <stdbool.h>
#include <stdint.h>

/* Tries to become leader of name (a row of the table leader) without waiting. When held, the epoch is a new one. Call
 * once per connection: a lost connection loses the lock. */
[[nodiscard]] enum err leader_take(struct db *db, const char *name, bool *ret_held, int64_t *ret_epoch,
                                   struct err_info *info);

/* First statement of a deciding transaction: ERR_CONFLICT `not_leader` when a newer leader has come. Until the
 * transaction ends nobody can become one. */
[[nodiscard]] enum err leader_check(struct db *db, const char *name, int64_t epoch, struct err_info *info);
