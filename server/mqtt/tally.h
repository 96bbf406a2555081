#pragma once
/* Counts something that may happen often and says so in the log at most once a minute, with the last example. One
 * thread. */

#include <stdint.h>

struct tally {
    const char *event; /* first word of the log line */
    int64_t count;     /* since the last line */
    int64_t told_ms;   /* clock_mono_ms() of the last line; 0: never */
};

/* Counts n and logs if it is time. device and reason are of the last one; both may be "". */
void tally_add(struct tally *t, int64_t n, const char *device, const char *reason, int64_t now_ms);
