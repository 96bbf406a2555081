#pragma once
/* What each device says of its slots in its latest beat, whole. */

#include "server/core/message.h"
#include "server/db/db.h"

#include <stddef.h>

struct device_slots {
    const char *device_id; /* each at most once */
    const struct beat *beat;
};

/* Inside the caller's transaction: the rows of these devices become what their beats say; other slots go. */
[[nodiscard]] enum err device_slot_replace(struct db *db, const struct device_slots *devices, size_t count,
                                           struct err_info *info);
