#pragma once
/* Day partitions of the telemetry tables. */

#include "server/db/db.h"

enum { PARTITION_DAYS_BACK = 1, PARTITION_DAYS_AHEAD = 3 };

/* Makes the partitions from yesterday to PARTITION_DAYS_AHEAD days from now that are missing; any server may, at any
 * time. ret_made: how many. Not inside a transaction: each is made in one of its own. */
[[nodiscard]] enum err partition_prepare(struct db *db, int *ret_made, struct err_info *info);
