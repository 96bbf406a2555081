#pragma once
/* The MQTT session with whichever broker of the list can be reached: MQTT 5, mutual TLS, reconnecting for ever. Only
 * the loop's thread may call. libmosquitto is driven by its socket; its name look-up is the one call that can block. */

#include "agent/identity/identity.h"
#include "agent/loop/loop.h"

#include <stdbool.h>
#include <stddef.h>

struct link;

/* Called from the loop, never from inside a callback of libmosquitto. */
struct link_hooks {
    /* A new session number, larger than every one before. */
    int64_t (*session)(void *user);
    /* Connected and subscribed. */
    void (*up)(void *user);
    /* leaf: what follows "muster/v1/<device>/down/"; text is NUL-terminated after len bytes. */
    void (*message)(void *user, const char *leaf, const char *text, size_t len);
    void *user;
};

/* Starts connecting. identity is borrowed and may only change together with link_reopen(). */
[[nodiscard]] enum err link_open(struct loop *loop, const struct identity *identity, const struct link_hooks *hooks,
                                 struct link **ret_link);

/* The identity has changed: connects anew. */
void link_reopen(struct link *link);

/* Says goodbye (the broker publishes the will) and frees. */
void link_close(struct link *link);

bool link_is_up(const struct link *link);

/* Number of the present or next session. */
int64_t link_session(const struct link *link);

/* Publishes to muster/v1/<device>/up/<leaf>, QoS 0. ERR_UNAVAILABLE: not connected, or the last message is not out yet;
 * nothing is queued then. */
[[nodiscard]] enum err link_publish(struct link *link, const char *leaf, const char *text);
