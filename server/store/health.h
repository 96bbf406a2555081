#pragma once
/* Health readings of devices: load, memory, disk, temperatures, throttling. */

#include "common/base/buf.h"
#include "server/core/item.h"
#include "server/db/db.h"

/* Adds one row of COPY text. ERR_TOO_LARGE, ERR_NO_MEMORY. */
[[nodiscard]] enum err health_row_add(struct buf *rows, const char *device_id, const struct item_health *health);

/* Writes rows made by health_row_add. Inside the caller's transaction. */
[[nodiscard]] enum err health_copy(struct db *db, const struct buf *const *parts, size_t count, struct err_info *info);

/* JSON of openapi's HealthSeries over from..to (Unix ms, inclusive): of every step_ms the hottest reading, and a point
 * of nulls where more than three usual distances are missing. free() it. */
[[nodiscard]] enum err health_series(struct db *db, const char *device_id, int64_t from, int64_t to, int64_t step_ms,
                                     char **ret_json, struct err_info *info);
