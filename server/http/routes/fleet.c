#include "server/store/fleet.h"
#include "common/base/cleanup.h"
#include "server/http/routes/routes.h"

static enum err handle_fleet(struct call *c)
{
    cleanup_free char *json = NULL;
    enum err e = fleet_show(c->db, &json, &c->info);
    return e == ERR_OK ? call_answer_text(c, 200, json) : e;
}

static enum err handle_sites(struct call *c)
{
    cleanup_free char *json = NULL;
    enum err e = fleet_sites(c->db, &json, &c->info);
    return e == ERR_OK ? call_answer_text(c, 200, json) : e;
}

static const struct route routes[] = {
    {"GET", "/api/v1/fleet", PERMIT_READ, BODY_NONE, handle_fleet},
    {"GET", "/api/v1/sites", PERMIT_READ, BODY_NONE, handle_sites},
};
const struct route_table routes_fleet = {routes, sizeof routes / sizeof routes[0]};
