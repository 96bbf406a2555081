#include "server/mqtt/tally.h"

#include "common/base/log.h"

#include <inttypes.h>

enum { TALLY_EVERY_MS = 60 * 1000 };

void tally_add(struct tally *t, int64_t n, const char *device, const char *reason, int64_t now_ms)
{
    t->count += n;
    if (t->count == 0 || (t->told_ms != 0 && now_ms - t->told_ms < TALLY_EVERY_MS))
        return;
    log_warn(t->event, "count=%" PRId64 " device=%s reason=\"%s\"", t->count, device, reason);
    t->count = 0;
    t->told_ms = now_ms;
}
