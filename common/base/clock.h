#pragma once
/* The two clocks. Pure code takes times as arguments; only edges read a clock. */

#include <stdint.h>

/* Unix milliseconds, UTC: for display and records. */
int64_t clock_wall_ms(void);

/* Monotonic milliseconds, counting while suspended: for durations and timers. */
int64_t clock_mono_ms(void);

/* Monotonic microseconds: for latencies. */
int64_t clock_mono_us(void);

/* Sleeps at least ms milliseconds, through signals. */
void clock_sleep_ms(int64_t ms);
