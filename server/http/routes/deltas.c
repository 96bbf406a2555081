#include "common/base/cleanup.h"
#include "server/http/routes/routes.h"
#include "server/server.h"
#include "server/store/bundle.h"
#include "server/store/delta.h"

static enum err show(struct call *c, unsigned status, const struct delta_search *search)
{
    cleanup_free char *json = NULL;
    const struct delta_policy policy = {.saved_min = conf_int(c->server->conf, "delta_saving_mb") * 1024 * 1024};
    enum err e = delta_show(c->db, search, &policy, &json, &c->info);
    return e == ERR_OK ? call_answer_text(c, status, json) : e;
}

static enum err handle_list(struct call *c)
{
    struct delta_search search = {.question = DELTAS_MADE};
    enum err e = call_query_page(c, &search.limit, &search.before);
    return e == ERR_OK ? show(c, 200, &search) : e;
}

static enum err handle_plan(struct call *c)
{
    char id[BUNDLE_ID_SIZE];
    enum err e = bundle_find(c->db, call_path(c, "id"), id, &c->info);
    const struct delta_search search = {.question = DELTAS_OF_BUNDLE, .bundle = id};
    return e == ERR_OK ? show(c, 200, &search) : e;
}

/* ---- asking by hand */

struct asking {
    struct call *call;
    char from[BUNDLE_ID_SIZE], to[BUNDLE_ID_SIZE];
};

static enum err ask_work(struct db *db, void *arg, struct err_info *info)
{
    const struct asking *a = arg;
    char target[sizeof "bundle:" + BUNDLE_ID_SIZE];
    (void)snprintf(target, sizeof target, "bundle:%s", a->to);
    enum err e = delta_ask(db, a->from, a->to, a->call->actor, info);
    json_auto_t *after = json_pack("{s:s}", "from", a->from);
    return e == ERR_OK ? call_audit(a->call, db, "delta.ask", target, NULL, after, info) : e;
}

static enum err handle_ask(struct call *c)
{
    static const char *const fields[] = {"from", NULL};
    struct asking a = {.call = c};
    const char *from = NULL;
    enum err e = json_only(c->body, fields, &c->info);
    if (e == ERR_OK)
        e = json_get_text(c->body, "from", 160, &from, &c->info);
    if (e == ERR_OK)
        e = bundle_find(c->db, call_path(c, "id"), a.to, &c->info);
    if (e == ERR_OK)
        e = bundle_find(c->db, from, a.from, &c->info);
    if (e == ERR_OK)
        e = db_transaction(c->db, ask_work, &a, &c->info);
    const struct delta_search search = {.question = DELTAS_OF_BUNDLE, .bundle = a.to};
    return e == ERR_OK ? show(c, 202, &search) : e;
}

static const struct route routes[] = {
    {"GET", "/api/v1/deltas", PERMIT_READ, BODY_NONE, handle_list},
    {"GET", "/api/v1/bundles/{id}/deltas", PERMIT_READ, BODY_NONE, handle_plan},
    {"POST", "/api/v1/bundles/{id}/deltas", PERMIT_BUNDLE_WRITE, BODY_JSON, handle_ask},
};
const struct route_table routes_deltas = {routes, sizeof routes / sizeof routes[0]};
