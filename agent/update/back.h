#pragma once
/* Going back to the version before because somebody at the device wants it, with or without a running agent. */

#include "agent/core/status.h"

struct back {
    struct update_input input;       /* for update_step(); points into this struct and to the row */
    char detail[UPDATE_DETAIL_SIZE]; /* of the report */
    char text[STATUS_TEXT_SIZE];     /* for whoever asked */
};

/* What going back means for this row. generation: of the newest desired document; by: who asks. ERR_CONFLICT with text
 * in info: it is not possible. */
[[nodiscard]] enum err back_plan(const struct update_row *row, int64_t generation, const char *by,
                                 struct back *ret_back, struct err_info *info);

/* ERR_NOT_FOUND with a text that lists the slots there are. */
[[nodiscard]] enum err back_unknown(const char *name, const char *const *slots, size_t count, struct err_info *info);
