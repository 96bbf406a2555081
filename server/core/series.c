#include "server/core/series.h"

int64_t series_step_ms(int64_t from, int64_t to)
{
    return (to - from) / SERIES_POINTS_MAX + 1;
}
