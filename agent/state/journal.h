#pragma once
/* The journal: one row per slot, as the update table (agent/core/update.h) has left it. */

#include "agent/core/update.h"
#include "agent/state/state.h"

/* All rows; *ret_count of at most SLOT_COUNT_MAX. A phase this agent does not know is UPDATE_IDLE: the document will
 * say again what is wanted. */
[[nodiscard]] enum err journal_load(struct state *state, struct update_row ret_rows[SLOT_COUNT_MAX], size_t *ret_count);

/* Stores a row, in the caller's transaction if there is one. */
[[nodiscard]] enum err journal_put(struct state *state, const struct update_row *row);
