#pragma once
/* One API request as a route sees it: in a worker thread, with the worker's own database connection, authenticated and
 * authorised, its body parsed. A route reads the call, asks a store, and gives an answer or an error. It may block on
 * the database only. */

#include "common/base/err.h"
#include "common/base/json.h"
#include "server/core/access.h"
#include "server/db/db.h"

#include <stdbool.h>
#include <stdint.h>

struct server; /* what all routes share: settings, certificate authority, object cache (server/server.h) */

struct call {
    struct server *server;
    struct db *db;
    const char *actor;      /* "user:admin", "token:ci", "device:<id>"; "" for anyone */
    struct grant grant;     /* what a person or a token may do; for routes that show or refine it */
    const char *device_id;  /* device port: whose certificate it is; else NULL */
    const char *address;    /* of the peer */
    const char *request_id; /* also in the answer's header X-Request-Id */
    json_t *body;           /* parsed JSON body, NULL when the route takes none */
    int upload_fd;          /* a raw body, received whole into an unlinked file, position 0; -1 when there is none */
    int64_t upload_size;
    struct err_info info; /* a route that fails fills this */
    struct call_private *private_;
};

/* Value of `{name}` in the route's path, percent-decoded, never with NUL or '/'; "" when the route has no such name. */
const char *call_path(const struct call *c, const char *name);

/* The same as a 64-bit id; ERR_INVALID with the field in c->info. */
[[nodiscard]] enum err call_path_id(struct call *c, const char *name, int64_t *ret_id);

/* Query parameter, decoded; NULL when absent. */
const char *call_query(const struct call *c, const char *name);

/* The same as a number; absent gives fallback; ERR_INVALID with the field and the range in c->info. */
[[nodiscard]] enum err call_query_i64(struct call *c, const char *name, int64_t min, int64_t max, int64_t fallback,
                                      int64_t *ret_value);

/* openapi's `limit` and `before` (0: from the newest). */
[[nodiscard]] enum err call_query_page(struct call *c, int64_t *ret_limit, int64_t *ret_before);

/* An audit row of this call, inside the caller's transaction. before and after: borrowed, NULL for nothing. */
[[nodiscard]] enum err call_audit(const struct call *c, struct db *db, const char *action, const char *target,
                                  const json_t *before, const json_t *after, struct err_info *info);

/* Request header, NULL when absent. */
const char *call_header(const struct call *c, const char *name);

/* Cookie, NULL when absent. */
const char *call_cookie(const struct call *c, const char *name);

/* Answers. Exactly one, then return ERR_OK; a route that returns an error is answered with application/problem+json by
 * the one table in http/problem.c. */
[[nodiscard]] enum err call_answer_json(struct call *c, unsigned status,
                                        json_t *json); /* steals json; NULL is ERR_NO_MEMORY */
[[nodiscard]] enum err call_answer_text(struct call *c, unsigned status,
                                        const char *json_text); /* JSON made by PostgreSQL; copied */
[[nodiscard]] enum err call_answer_empty(struct call *c, unsigned status);
/* An object's bytes, or the range that is asked for: from the disk cache, or from the database when there is no room
 * for it. ERR_NOT_FOUND code `object_not_found`. */
[[nodiscard]] enum err call_answer_object(struct call *c, const char *sha256);
/* The stream of changes (openapi's streamChanges). */
[[nodiscard]] enum err call_answer_stream(struct call *c);
/* An extra header of the answer, also of an error's, copied (Set-Cookie, Location, Retry-After). */
[[nodiscard]] enum err call_answer_header(struct call *c, const char *name, const char *value);

/* A route: path segments are literals or {name}. Every resource file in http/routes/ exports one table. */
enum route_body {
    BODY_NONE,
    BODY_JSON,
    BODY_RAW, /* a file, up to max_bundle_mb */
    BODY_PART /* a part of one, up to CALL_PART_MAX */
};

enum { CALL_PART_MAX = 64 * 1024 * 1024 };

struct route {
    const char *method;
    const char *path;
    enum permission permission;
    enum route_body body;
    enum err (*handle)(struct call *c);
};

struct route_table {
    const struct route *routes;
    size_t count;
};
