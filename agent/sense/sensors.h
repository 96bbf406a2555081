#pragma once
/* The sensor thread: samples temperatures and throttling, so that a driver that hangs can never hang the agent. */

#include "agent/sense/thermal.h"
#include "common/base/err.h"

struct sensors;

struct sensors_reading {
    struct thermal thermal;           /* the newest sample; when it is stale, every sensor in it is unread */
    double fraction;                  /* of the samples since the last sensors_take() that were throttled, 0..1 */
    char reason[THERMAL_REASON_SIZE]; /* of the newest of these; "" for none */
};

/* Starts the thread. root: directory laid out like /sys. period_ms: between samples. */
[[nodiscard]] enum err sensors_start(const char *root, int64_t period_ms, struct sensors **ret_sensors,
                                     struct err_info *info);

/* The newest sample, and the window since the last take. Any thread; never waits for a sensor. */
void sensors_take(struct sensors *sensors, struct sensors_reading *ret_reading);

/* Margin and throttling now, without ending the window. */
void sensors_peek(struct sensors *sensors, bool *ret_has_margin, double *ret_margin_c, bool *ret_throttled);

/* Ends the thread. One that hangs in a driver is left to the end of the process. */
void sensors_stop(struct sensors *sensors);
