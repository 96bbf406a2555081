#include "agent/core/retry.h"

int64_t retry_jitter_ms(int64_t period_ms, double spread, double unit)
{
    return (int64_t)((double)period_ms * (1.0 + spread * (2.0 * unit - 1.0)));
}

int64_t retry_next_ms(struct retry *retry, double unit)
{
    int64_t delay = retry->first_ms;
    for (unsigned i = 0; i < retry->tries && delay < retry->most_ms; i++)
        delay *= 2;
    if (delay > retry->most_ms)
        delay = retry->most_ms;
    retry->tries++;
    return retry_jitter_ms(delay, retry->spread, unit);
}

void retry_reset(struct retry *retry)
{
    retry->tries = 0;
}
