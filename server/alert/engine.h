#pragma once
/* The alert engine: one thread that looks at the fleet once a period, lets core/alert.h decide and store/alert.h write.
 * Every musterd runs one; a lock in the database lets one of them look at a time. */

#include "common/base/err.h"

#include <stdint.h>

struct alert_engine;

struct alert_engine_settings {
    const char *database_url;
    int statement_timeout_ms;
    int64_t period_ms; /* > 0 */
    /* Since when this server has heard its devices without a break: monotonic milliseconds (clock_mono_ms), or 0 while
     * the broker is away; then absence is held against nobody. Called in the engine's thread; must not block. */
    int64_t (*link_since_ms)(void *link);
    void *link;
};

/* Starts the thread; text is copied. The database need not be there yet. */
[[nodiscard]] enum err alert_engine_start(const struct alert_engine_settings *settings,
                                          struct alert_engine **ret_engine, struct err_info *info);

/* Ends the thread and waits for it: at most one statement timeout. NULL is fine. */
void alert_engine_stop(struct alert_engine *engine);
