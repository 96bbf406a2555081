#include "server/thread/outage.h"

#include "common/base/log.h"

#include <stdbool.h>

void outage_begin(struct outage *outage, enum err e, const struct err_info *info)
{
    if (!atomic_exchange(&outage->on, true))
        log_error("stalled", "part=%s error=%s reason=\"%s\"", outage->name, err_name(e), info->text);
}

void outage_end(struct outage *outage)
{
    if (atomic_load(&outage->on) && atomic_exchange(&outage->on, false))
        log_info("resumed", "part=%s", outage->name);
}
