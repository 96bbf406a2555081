/* For whoever watches the server: is it alive, and can it work. */

#include "common/base/version.h"
#include "server/http/routes/routes.h"
#include "server/server.h"

enum err health_alive(struct call *c)
{
    return call_answer_json(c, 200, json_pack("{s:s, s:s}", "status", "ok", "version", MUSTER_VERSION));
}

static enum err handle_ready(struct call *c)
{
    bool database = db_ping(c->db, NULL) == ERR_OK;
    bool broker = c->server->broker.since_ms(c->server->broker.link) > 0;
    bool ready = database && broker;
    return call_answer_json(c, ready ? 200 : 503,
                            json_pack("{s:b, s:b, s:b}", "ready", ready, "database", database, "broker", broker));
}

static const struct route routes[] = {
    {"GET", "/healthz", PERMIT_ANYONE, BODY_NONE, health_alive},
    {"GET", "/readyz", PERMIT_ANYONE, BODY_NONE, handle_ready},
};
const struct route_table routes_health = {routes, sizeof routes / sizeof routes[0]};
