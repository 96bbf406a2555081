#pragma once
/* Cuts slow clients. libmicrohttpd ends a connection on which nothing moves; this ends one that moves, but too little.
 * One thread looks at the deadlines once a second. */

#include "common/base/err.h"

#include <stdint.h>

struct watch;
struct watched; /* one connection */

enum {
    WATCH_GRACE_MS = 30 * 1000, /* for a request's head, and before a body must have begun to move */
    WATCH_BYTES_PER_S = 1024,   /* a body, either way, keeps at least this pace on average */
};

[[nodiscard]] enum err watch_start(struct watch **ret_watch, struct err_info *info);
/* Joins the thread; every connection has been removed. NULL is fine. */
void watch_stop(struct watch *w);

/* A connection's socket, watched with WATCH_GRACE_MS from now. NULL without memory: then it is not watched. */
struct watched *watch_add(struct watch *w, int fd);
/* Before the socket is closed. NULL is fine. */
void watch_remove(struct watch *w, struct watched *watched);

/* Since since_ms (monotonic) its head, or a body of so many bytes, is on the way, and must have passed in time. Any
 * thread; NULL is fine. */
void watch_expect(struct watch *w, struct watched *watched, int64_t since_ms, int64_t bytes);
/* Nothing is expected of the client: the server works, or streams. */
void watch_rest(struct watch *w, struct watched *watched);
