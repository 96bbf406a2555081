#pragma once
/* Says once that the database is away and once that it is back, however many threads notice. */

#include "common/base/err.h"

#include <stdatomic.h>

struct outage {
    const char *name; /* "ingest": whose work stands still */
    atomic_bool on;
};

void outage_begin(struct outage *outage, enum err e, const struct err_info *info);
void outage_end(struct outage *outage);
