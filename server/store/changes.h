#pragma once
/* What has changed lately, as topics of openapi's streamChanges. */

#include "server/db/db.h"

enum { CHANGES_MAX = 2000 };

/* Rows are visible only when their transaction commits, and not in the order of their ids: so a window that reaches
 * back is read every time, and who asks compares the marks with those of the time before. */
struct changes_window {
    int64_t event_after; /* ids */
    int64_t audit_after;
};

/* Where a window may begin that shall hold everything from now on. */
[[nodiscard]] enum err changes_now(struct db *db, struct changes_window *ret_window, struct err_info *info);

/* Columns: 0 a mark that is this change's alone, 1 a topic. A change may have several topics. At most CHANGES_MAX rows
 * or so: as many mean that more was left out. Beats reach back three seconds. rows_free() the result. */
[[nodiscard]] enum err changes_read(struct db *db, const struct changes_window *window, struct rows **ret_rows,
                                    struct err_info *info);
