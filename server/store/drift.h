#pragma once
/* Drift counts of devices: per feature of a model's input, how many samples fell into each bin of the signed profile.
 */

#include "common/base/buf.h"
#include "common/wire/profile.h"
#include "server/core/item.h"
#include "server/db/db.h"

/* Adds one row of COPY text. ERR_TOO_LARGE, ERR_NO_MEMORY. */
[[nodiscard]] enum err drift_row_add(struct buf *rows, const char *device_id, const struct item_drift *drift);

/* Writes rows made by drift_row_add. Inside the caller's transaction. */
[[nodiscard]] enum err drift_copy(struct db *db, const struct buf *const *parts, size_t count, struct err_info *info);

/* One feature of one model, added up. */
struct drift_sum {
    char *slot, *bundle;
    char *version; /* NULL: the bundle is not known here */
    char *feature;
    char *profile; /* JSON of the bundle's reference profile; NULL: it has none */
    uint64_t counts[PROFILE_COUNTERS];
};

struct drift_sums {
    size_t count;
    struct drift_sum *sums; /* by slot, version and the feature's place in the window */
};

/* Sums of the windows of from..to (Unix ms, inclusive). drift_sums_free() them. */
[[nodiscard]] enum err drift_sums_read(struct db *db, const char *device_id, int64_t from, int64_t to,
                                       struct drift_sums *ret_sums, struct err_info *info);
void drift_sums_free(struct drift_sums *sums);
#define cleanup_drift_sums [[gnu::cleanup(drift_sums_free)]]
