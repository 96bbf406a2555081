#pragma once
/* How far each device's spool has been written: what makes ingest write every batch exactly once. */

#include "server/db/db.h"

#include <stdbool.h>
#include <stddef.h>

struct spool_batch {
    const char *device_id;
    const char *epoch;
    int64_t seq;
    int64_t items;
    bool fresh; /* out: not written before; write its items in this transaction */
};

/* Inside the caller's transaction: locks the positions of the batches' spools to its end, says which batches are fresh
 * (their seq is after the last one, in the order given), and moves the positions on. */
[[nodiscard]] enum err spool_take(struct db *db, struct spool_batch *batches, size_t count, struct err_info *info);
