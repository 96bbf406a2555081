#include "common/base/cleanup.h"
#include "server/http/routes/rollout_body.h"
#include "server/http/routes/routes.h"
#include "server/store/rollout_plan.h"

static enum err handle_plan(struct call *c)
{
    struct rollout_request request;
    cleanup_free char *json = NULL;
    enum err e = rollout_body_read(c, &request);
    if (e == ERR_OK)
        e = rollout_plan(c->db, &request, &json, &c->info);
    return e == ERR_OK ? call_answer_text(c, 200, json) : e;
}

static const struct route routes[] = {
    {"POST", "/api/v1/rollout-plans", PERMIT_READ, BODY_JSON, handle_plan},
};
const struct route_table routes_rollout_plans = {routes, sizeof routes / sizeof routes[0]};
