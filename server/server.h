#pragma once
/* What the threads of musterd share. Made by main before they start, read-only afterwards; each part guards its own
 * state. */

#include "common/base/conf.h"

#include <stdint.h>

struct pki;          /* server/pki/pki.h: signs device certificates */
struct object_cache; /* server/artifact/object_cache.h: bytes by digest on disk */
struct checkers;     /* server/artifact/checker.h: uploads that are being verified */
struct trust;        /* common/bundle/trust.h: release keys that may sign bundles */
struct passwords;    /* server/http/password.h: argon2id, two at once */
struct limiter;      /* server/http/limiter.h: attempts per address */
struct broadcast;    /* server/http/broadcast.h: change topics to browsers */

/* What routes may know and ask of the link to the broker, so that they need not know the link. Any thread; never
 * blocks. */
struct server_broker {
    void *link;
    int64_t (*since_ms)(void *link);                 /* monotonic time since it is connected; 0: it is away */
    void (*hint)(void *link, const char *device_id); /* the device's desired document has changed */
};

struct server {
    const struct conf *conf;
    struct pki *pki;
    struct object_cache *objects;
    struct checkers *checkers;
    struct trust *trust;
    struct server_broker broker;
    struct passwords *passwords;
    struct limiter *login_limiter; /* by address, and by account */
    struct limiter *enrol_limiter; /* by address */
    struct broadcast *broadcast;
};
