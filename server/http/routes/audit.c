#include "server/store/audit.h"
#include "common/base/cleanup.h"
#include "server/http/routes/routes.h"

static enum err handle_list(struct call *c)
{
    int64_t limit = 0;
    int64_t before = 0;
    cleanup_free char *json = NULL;
    enum err e = call_query_page(c, &limit, &before);
    if (e == ERR_OK)
        e = audit_list(c->db, limit, before, &json, &c->info);
    return e == ERR_OK ? call_answer_text(c, 200, json) : e;
}

static const struct route routes[] = {
    {"GET", "/api/v1/audit", PERMIT_ACCESS_ADMIN, BODY_NONE, handle_list},
};
const struct route_table routes_audit = {routes, sizeof routes / sizeof routes[0]};
