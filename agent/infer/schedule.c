#include "agent/infer/schedule.h"

#include <math.h>

struct schedule schedule_start(int64_t now_us, double rate_hz)
{
    return (struct schedule){.start_us = now_us, .period_us = 1e6 / rate_hz};
}

int64_t schedule_due_us(const struct schedule *s)
{
    return s->start_us + (int64_t)ceil((double)s->next * s->period_us);
}

int64_t schedule_waiting(struct schedule *s, int64_t now_us)
{
    if (now_us < schedule_due_us(s))
        return 0;
    int64_t newest = (int64_t)floor((double)(now_us - s->start_us) / s->period_us);
    if (newest < s->next) /* rounding: it is due all the same */
        newest = s->next;
    if (newest - s->next >= SCHEDULE_WAITING_MAX)
        s->next = newest - SCHEDULE_WAITING_MAX + 1;
    return newest - s->next + 1;
}

int64_t schedule_take(struct schedule *s)
{
    return s->next++;
}
