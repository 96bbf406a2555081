#pragma once
/* What the threads of musterd share. Made by main before they start, read-only afterwards; each part guards its own
 * state. */

#include "common/base/conf.h"

struct pki;          /* server/pki/pki.h: signs device certificates */
struct object_cache; /* server/artifact/object_cache.h: bytes by digest on disk */
struct trust;        /* common/bundle/trust.h: release keys that may sign bundles */
struct mqtt_link;    /* server/mqtt/link.h: publishes desired documents and acks */
struct passwords;    /* server/http/password.h: argon2id, two at once */
struct limiter;      /* server/http/limiter.h: attempts per address */
struct broadcast;    /* server/http/broadcast.h: change topics to browsers */

struct server {
    const struct conf *conf;
    struct pki *pki;
    struct object_cache *objects;
    struct trust *trust;
    struct mqtt_link *mqtt;
    struct passwords *passwords;
    struct limiter *login_limiter; /* by address, and by account */
    struct limiter *enrol_limiter; /* by address */
    struct broadcast *broadcast;
};
