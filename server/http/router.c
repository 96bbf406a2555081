#include "server/http/router.h"

#include "common/base/text.h"

#include <stdio.h>
#include <string.h>

/* The route's path is this one. ret_literals: how many segments are literal, with bit i for segment i from the left, so
 * that a literal further left counts more. */
static bool path_matches(const char *pattern, const struct url_path *path, struct route_match *match,
                         unsigned *ret_literals)
{
    unsigned literals = 0;
    match->count = 0;
    for (size_t i = 0; i < path->count; i++) {
        if (*pattern != '/')
            return false;
        pattern++;
        size_t n = strcspn(pattern, "/");
        if (*pattern == '{' && match->count < ROUTE_PARAMS_MAX) {
            match->params[match->count].name = pattern + 1;
            match->params[match->count].name_len = n - 2;
            match->params[match->count++].value = path->segments[i];
        } else if (strlen(path->segments[i]) == n && memcmp(path->segments[i], pattern, n) == 0) {
            literals |= 1U << (URL_SEGMENTS_MAX - i);
        } else {
            return false;
        }
        pattern += n;
    }
    *ret_literals = literals;
    return *pattern == '\0';
}

static void allow_add(char allow[ROUTE_ALLOW_MAX], const char *method)
{
    if (strstr(allow, method) != NULL)
        return;
    size_t n = strlen(allow);
    (void)snprintf(allow + n, ROUTE_ALLOW_MAX - n, "%s%s", n == 0 ? "" : ", ", method);
}

enum err router_match(const struct route_table *const *tables, size_t count, const char *method,
                      const struct url_path *path, struct route_match *ret_match, struct err_info *info)
{
    const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
    struct route_match best = {};
    unsigned best_literals = 0;
    for (size_t t = 0; t < count; t++)
        for (size_t r = 0; r < tables[t]->count; r++) {
            const struct route *route = &tables[t]->routes[r];
            struct route_match match = {.route = route};
            unsigned literals = 0;
            if (!path_matches(route->path, path, &match, &literals))
                continue;
            allow_add(best.allow, route->method);
            if (strcmp(route->method, wanted) != 0 || (best.route != NULL && literals <= best_literals))
                continue;
            memcpy(match.allow, best.allow, sizeof match.allow);
            best = match;
            best_literals = literals;
        }
    if (best.route == NULL && best.allow[0] == '\0')
        return err_code(info, ERR_NOT_FOUND, "no_such_route", "there is nothing at this path");
    if (best.route == NULL) {
        if (strstr(best.allow, "GET") != NULL)
            allow_add(best.allow, "HEAD");
        *ret_match = best;
        return err_set(info, ERR_METHOD, "this path does not take %.16s; it takes %s", method, best.allow);
    }
    *ret_match = best;
    return ERR_OK;
}

const char *route_match_get(const struct route_match *match, const char *name)
{
    for (size_t i = 0; i < match->count; i++)
        if (strlen(name) == match->params[i].name_len &&
            memcmp(name, match->params[i].name, match->params[i].name_len) == 0)
            return match->params[i].value;
    return "";
}
