#include "agent/core/spool_policy.h"

enum { ROOM_PERCENT = 5 };

void spool_plan_drop(const int64_t bytes[SPOOL_RANKS_], int64_t limit, int64_t ret_drop[SPOOL_RANKS_])
{
    int64_t sum = 0;
    for (int rank = 0; rank < SPOOL_RANKS_; rank++) {
        sum += bytes[rank];
        ret_drop[rank] = 0;
    }
    if (sum <= limit)
        return;
    int64_t excess = sum - limit / 100 * (100 - ROOM_PERCENT);
    for (int rank = SPOOL_RANKS_ - 1; rank >= 0 && excess > 0; rank--) {
        ret_drop[rank] = bytes[rank] < excess ? bytes[rank] : excess;
        excess -= ret_drop[rank];
    }
}
