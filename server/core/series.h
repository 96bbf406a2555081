#pragma once
/* The time range of a series and how it is thinned. Pure. */

#include <stdint.h>

enum { SERIES_POINTS_MAX = 1440, SERIES_DEFAULT_MS = 15 * 60 * 1000 };

/* The shortest step, >= 1 ms, that leaves at most SERIES_POINTS_MAX steps in from..to, both ends included: step n holds
 * the times t with (t - from) / step == n. from <= to. */
int64_t series_step_ms(int64_t from, int64_t to);
