#pragma once
/* Which items of the spool matter more. Pure. */

#include <stddef.h>
#include <stdint.h>

/* In the order in which they are sent; when the spool is full the last rank goes first. */
enum spool_rank { SPOOL_REPORT, SPOOL_EVENT, SPOOL_INVENTORY, SPOOL_TELEMETRY, SPOOL_RANKS_ };

enum {
    SPOOL_BATCH_MAX = 250 * 1024, /* bytes of the items of one batch: with its envelope below the protocol's 256 KiB */
    SPOOL_ITEM_MAX = 128 * 1024   /* bytes of one item */
};

/* Bytes to drop of each rank so that the sum is at most limit. Nothing when it is; else room for some more is made, so
 * that a full spool does not drop at every item. */
void spool_plan_drop(const int64_t bytes[SPOOL_RANKS_], int64_t limit, int64_t ret_drop[SPOOL_RANKS_]);
