#pragma once
/* When which sample is due: sample k at start + k / rate, whatever happened to those before, so that a slow run makes
 * the next one late but never shifts them all. Pure; times in microseconds of one monotonic clock. */

#include <stdint.h>

/* Due samples wait for their turn; when so many do, the oldest are given up. */
enum { SCHEDULE_WAITING_MAX = 64 };

struct schedule {
    int64_t start_us;
    double period_us;
    int64_t next; /* number of the sample that is due next */
};

/* rate_hz > 0. */
struct schedule schedule_start(int64_t now_us, double rate_hz);

int64_t schedule_due_us(const struct schedule *s);

/* How many samples are due at now, at most SCHEDULE_WAITING_MAX: older ones are skipped. */
int64_t schedule_waiting(struct schedule *s, int64_t now_us);

/* Number of the sample that is due next; it counts as done. */
int64_t schedule_take(struct schedule *s);
