#pragma once
/* Finds out how to tell a part of the new file by ops. Only for creating deltas. Internal to common/delta. */

#include "common/delta/bin_op.h"
#include "common/delta/bin_regions.h"

struct bin_ops {
    struct bin_op *items; /* owned */
    size_t count, room;
};

/* Appends the ops that make [start, end) of the new file. Any number of threads, for different parts. ERR_NO_MEMORY. */
[[nodiscard]] enum err bin_parse(const struct bin_texts *texts, size_t start, size_t end, struct bin_ops *ops);
void bin_ops_free(struct bin_ops *ops);

/* Appends one op; it is put together with the last one when both are one copy. */
[[nodiscard]] enum err bin_ops_add(struct bin_ops *ops, struct bin_op op);
