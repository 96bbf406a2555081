#pragma once
/* From method and path to a route. Pure. */

#include "server/http/call.h"
#include "server/http/url.h"

enum { ROUTE_PARAMS_MAX = 4, ROUTE_ALLOW_MAX = 64 };

struct route_match {
    const struct route *route;
    size_t count;
    struct {
        const char *name; /* in the route's path, name_len bytes */
        size_t name_len;
        const char *value; /* in the url_path */
    } params[ROUTE_PARAMS_MAX];
    char allow[ROUTE_ALLOW_MAX]; /* with ERR_METHOD: "GET, HEAD, POST" */
};

/* A literal segment wins over {name}; HEAD takes the route of GET. ERR_NOT_FOUND code `no_such_route`, ERR_METHOD with
 * ret_match->allow. The match borrows from the tables and from path. */
[[nodiscard]] enum err router_match(const struct route_table *const *tables, size_t count, const char *method,
                                    const struct url_path *path, struct route_match *ret_match, struct err_info *info);

/* Value of {name}; "" when the route has no such name. */
const char *route_match_get(const struct route_match *match, const char *name);
