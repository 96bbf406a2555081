#include "server/http/routes/routes.h"

enum err me_answer(struct call *c, const char *actor, struct grant grant)
{
    json_t *permissions = json_array();
    for (enum permission p = 0; p < PERMIT_COUNT_; p++) {
        const char *name = access_permission_name(p);
        if (name != NULL && access_allows(grant, p) && json_array_append_new(permissions, json_string(name)) != 0) {
            json_decref(permissions);
            return ERR_NO_MEMORY;
        }
    }
    return call_answer_json(
        c, 200,
        json_pack("{s:s, s:s, s:o}", "actor", actor, "role", access_role_name(grant.role), "permissions", permissions));
}

static enum err handle_me(struct call *c)
{
    return me_answer(c, c->actor, c->grant);
}

static const struct route routes[] = {
    {"GET", "/api/v1/me", PERMIT_READ, BODY_NONE, handle_me},
};
const struct route_table routes_me = {routes, sizeof routes / sizeof routes[0]};
