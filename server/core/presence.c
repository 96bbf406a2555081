#include "server/core/presence.h"

#include <stdbool.h>
#include <stddef.h>

/* False: the message is of an older session. A newer session starts from nothing. */
static bool session_enter(struct presence *p, int64_t session)
{
    if (session < p->session)
        return false;
    if (session > p->session) {
        *p = PRESENCE_NONE;
        p->session = session;
    }
    return true;
}

void presence_hello(struct presence *p, const struct hello *hello, int64_t age_ms)
{
    if (!session_enter(p, hello->session))
        return;
    p->hello = hello;
    p->seen_age_ms = age_ms;
    p->gone_age_ms = -1;
}

void presence_beat(struct presence *p, const struct beat *beat, int64_t age_ms)
{
    if (!session_enter(p, beat->session))
        return;
    p->beat = beat;
    p->seen_age_ms = age_ms;
    p->gone_age_ms = -1;
}

void presence_gone(struct presence *p, const struct gone *gone, int64_t age_ms)
{
    if (session_enter(p, gone->session))
        p->gone_age_ms = age_ms;
}
