#pragma once
/* Writes deliveries into the database in one transaction. */

#include "server/mqtt/delivery.h"

#include <stddef.h>

enum { WRITER_MAX = 64 }; /* deliveries in one transaction */

/* Writes those that are DELIVERY_READY, in their order, and marks them written or unknown; sets fresh and
 * wants_desired. On an error nothing was written and all are as they were. count <= WRITER_MAX; beat_s: what devices
 * are told to keep. Blocks. ERR_INVALID and ERR_TOO_LARGE: the database does not take the data of one of them. */
[[nodiscard]] enum err writer_write(struct db *db, struct delivery *deliveries, size_t count, double beat_s,
                                    struct err_info *info);
