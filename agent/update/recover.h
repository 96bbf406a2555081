#pragma once
/* The journal's rows after a start, checked against what is on the disk. */

#include "agent/core/update.h"
#include "agent/state/state.h"

/* Every slot that the journal or the disk knows. A slot without a row (the journal was lost) gets one from its links.
 * ret_fail[i]: give the row UPDATE_FAIL instead of resuming it. The rows are stored. */
[[nodiscard]] enum err recover_rows(struct state *state, struct update_row ret_rows[SLOT_COUNT_MAX],
                                    bool ret_fail[SLOT_COUNT_MAX], size_t *ret_count, struct err_info *info);

/* The same rows to look at, as they were stored: nothing is checked against the disk, stored or said. state NULL: the
 * links alone speak. */
[[nodiscard]] enum err recover_look(struct state *state, struct update_row ret_rows[SLOT_COUNT_MAX], size_t *ret_count,
                                    struct err_info *info);
