#pragma once
/* What several hellos, beats and wills of one device, in the order they came, say together. Pure. */

#include "server/core/message.h"

#include <stdint.h>

/* Start with PRESENCE_NONE. Messages of an older session than the newest seen here change nothing. */
struct presence {
    int64_t session;
    int64_t seen_age_ms;       /* how long ago it last said hello or beat; -1: it did not */
    int64_t gone_age_ms;       /* how long ago its will came and nothing after it; -1: it did not */
    const struct hello *hello; /* the last; NULL: none */
    const struct beat *beat;   /* the last; NULL: none */
};

#define PRESENCE_NONE ((struct presence){.seen_age_ms = -1, .gone_age_ms = -1})

/* Borrow the message. age_ms: how long ago it arrived, >= 0. */
void presence_hello(struct presence *p, const struct hello *hello, int64_t age_ms);
void presence_beat(struct presence *p, const struct beat *beat, int64_t age_ms);
void presence_gone(struct presence *p, const struct gone *gone, int64_t age_ms);
