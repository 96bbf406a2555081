#pragma once
/* Inference windows of devices: counts, errors and the latency histogram of one running model. */

#include "common/base/buf.h"
#include "common/wire/histogram.h"
#include "server/core/item.h"
#include "server/db/db.h"

/* Adds one row of COPY text. ERR_TOO_LARGE, ERR_NO_MEMORY. */
[[nodiscard]] enum err infer_row_add(struct buf *rows, const char *device_id, const struct item_infer *infer);

/* Writes rows made by infer_row_add. Inside the caller's transaction. */
[[nodiscard]] enum err infer_copy(struct db *db, const struct buf *const *parts, size_t count, struct err_info *info);

/* Windows of one model that end in the same step, added up. */
struct infer_window {
    int64_t t; /* end of the last one, Unix ms */
    int64_t window_ms;
    char *slot, *bundle;
    char *version; /* NULL: the bundle is not known here */
    int64_t count, errors;
    struct histogram latency;
};

struct infer_series {
    size_t count;
    struct infer_window *windows; /* by time, then slot and bundle */
};

/* The windows of from..to (Unix ms, inclusive). infer_series_free() them. */
[[nodiscard]] enum err infer_series_read(struct db *db, const char *device_id, int64_t from, int64_t to,
                                         int64_t step_ms, struct infer_series *ret_series, struct err_info *info);
void infer_series_free(struct infer_series *series);
#define cleanup_infer_series [[gnu::cleanup(infer_series_free)]]
