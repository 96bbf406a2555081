#include "common/base/cleanup.h"
#include "common/base/text.h"
#include "server/artifact/intake.h"
#include "server/http/routes/routes.h"
#include "server/server.h"
#include "server/store/bundle.h"

enum { LIST_DEFAULT = 100, LIST_MAX = 500 };

static enum err bundle_answer(struct call *c, unsigned status, const char *reference)
{
    cleanup_free char *json = NULL;
    enum err e = bundle_get(c->db, reference, &json, &c->info);
    return e == ERR_OK ? call_answer_text(c, status, json) : e;
}

static enum err handle_put(struct call *c)
{
    if (c->upload_fd < 0 || c->upload_size == 0) {
        enum err e = err_code(&c->info, ERR_INVALID, "body_empty", "the request has no body");
        err_next(&c->info, "send the bundle file as the body, for example with `musterctl bundle upload FILE`");
        return e;
    }
    const struct intake_request request = {
        .fd = c->upload_fd,
        .trust = c->server->trust,
        .actor = c->actor,
        .address = c->address,
        .request_id = c->request_id,
    };
    char id[BUNDLE_ID_SIZE];
    bool created = false;
    enum err e = intake_bundle(c->db, &request, id, &created, &c->info);
    return e == ERR_OK ? bundle_answer(c, created ? 201 : 200, id) : e;
}

static enum err handle_show(struct call *c)
{
    return bundle_answer(c, 200, call_path(c, "id"));
}

static enum err handle_list(struct call *c)
{
    int64_t limit = 0;
    const char *before = call_query(c, "before");
    enum err e = call_query_i64(c, "limit", 1, LIST_MAX, LIST_DEFAULT, &limit);
    if (e == ERR_OK && before != NULL && !text_is_sha256(before))
        e = err_field(&c->info, ERR_INVALID, "before", "this is not the id of a bundle");
    if (e != ERR_OK)
        return e;
    cleanup_free char *json = NULL;
    e = bundle_list(c->db, call_query(c, "slot"), limit, before, &json, &c->info);
    return e == ERR_OK ? call_answer_text(c, 200, json) : e;
}

static const struct route routes[] = {
    {"GET", "/api/v1/bundles", PERMIT_READ, BODY_NONE, handle_list},
    {"PUT", "/api/v1/bundles", PERMIT_BUNDLE_WRITE, BODY_RAW, handle_put},
    {"GET", "/api/v1/bundles/{id}", PERMIT_READ, BODY_NONE, handle_show},
};
const struct route_table routes_bundles = {routes, sizeof routes / sizeof routes[0]};
