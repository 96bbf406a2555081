#include "common/base/cleanup.h"
#include "common/base/text.h"
#include "server/http/routes/routes.h"
#include "server/server.h"
#include "server/store/device.h"
#include "server/store/event.h"
#include "server/store/hold.h"

#include <stdio.h>
#include <string.h>

enum { LIST_MAX = 500, LIST_DEFAULT = 100, REASON_MAX = 500, HOLD_MAX_S = 365 * 86400 };

static enum err handle_list(struct call *c)
{
    cleanup_selector struct selector *selector = NULL;
    cleanup_free char *json = NULL;
    int64_t limit = 0;
    const char *q = call_query(c, "q");
    enum err e = call_query_i64(c, "limit", 1, LIST_MAX, LIST_DEFAULT, &limit);
    if (e == ERR_OK && q != NULL)
        e = selector_parse(q, &selector, &c->info);
    if (e == ERR_OK)
        e = device_list(c->db, selector, limit, call_query(c, "after"), &json, &c->info);
    return e == ERR_OK ? call_answer_text(c, 200, json) : e;
}

static enum err handle_show(struct call *c)
{
    char id[DEVICE_ID_SIZE];
    cleanup_free char *json = NULL;
    enum err e = device_find(c->db, call_path(c, "id"), id, &c->info);
    if (e == ERR_OK)
        e = device_show(c->db, id, &json, &c->info);
    return e == ERR_OK ? call_answer_text(c, 200, json) : e;
}

static enum err handle_events(struct call *c)
{
    char id[DEVICE_ID_SIZE];
    cleanup_free char *json = NULL;
    int64_t limit = 0;
    int64_t before = 0;
    enum err e = call_query_page(c, &limit, &before);
    if (e == ERR_OK)
        e = device_find(c->db, call_path(c, "id"), id, &c->info);
    if (e == ERR_OK)
        e = event_list(c->db, id, 0, limit, before, &json, &c->info);
    return e == ERR_OK ? call_answer_text(c, 200, json) : e;
}

/* ---------------------------------------------------------------- hold and release */

struct change {
    struct call *call;
    struct hold_request hold;
    char *json; /* the new hold, or the holds that were released; NULL: none */
};

/* One audit row and one event about the holds that the device has now, or had; nothing when nothing changed. */
static enum err change_record(const struct change *change, struct db *db, bool held, struct err_info *info)
{
    if (change->json == NULL)
        return ERR_OK;
    json_auto_t *holds = NULL;
    enum err e = json_parse(change->json, strlen(change->json), JSON_BYTES_MAX, &holds, info);
    if (e != ERR_OK)
        return e;
    char target[sizeof "device:" + DEVICE_ID_SIZE];
    (void)snprintf(target, sizeof target, "device:%s", change->hold.device_id);
    e = call_audit(change->call, db, held ? "device.hold" : "device.release", target, held ? NULL : holds,
                   held ? holds : NULL, info);
    json_auto_t *data = json_pack("{s:b, s:O}", "held", (int)held, held ? "hold" : "holds", holds);
    if (e == ERR_OK && data == NULL)
        e = ERR_NO_MEMORY;
    if (e == ERR_OK)
        e = event_add(
            db,
            &(struct event_entry){
                .kind = "device.hold", .actor = change->call->actor, .device_id = change->hold.device_id, .data = data},
            info);
    return e;
}

static enum err hold_work(struct db *db, void *arg, struct err_info *info)
{
    struct change *change = arg;
    free(change->json);
    change->json = NULL;
    enum err e = hold_add(db, &change->hold, &change->json, info);
    return e == ERR_OK ? change_record(change, db, true, info) : e;
}

static enum err release_work(struct db *db, void *arg, struct err_info *info)
{
    struct change *change = arg;
    free(change->json);
    change->json = NULL;
    enum err e = hold_release(db, change->hold.device_id, change->call->actor, &change->json, info);
    return e == ERR_OK ? change_record(change, db, false, info) : e;
}

static enum err hold_read(struct call *c, struct hold_request *hold)
{
    static const char *const allowed[] = {"reason", "expires_in_s", "then", NULL};
    enum err e = json_only(c->body, allowed, &c->info);
    if (e == ERR_OK)
        e = json_get_text(c->body, "reason", REASON_MAX, &hold->reason, &c->info);
    if (e == ERR_OK && hold->reason[0] == '\0')
        e = err_field(&c->info, ERR_INVALID, "reason", "\"reason\" must say why, for those who find the device held");
    if (e == ERR_OK && json_object_get(c->body, "expires_in_s") != NULL)
        e = json_get_i64(c->body, "expires_in_s", 1, HOLD_MAX_S, &hold->expires_in_s, &c->info);
    if (e == ERR_OK && json_object_get(c->body, "then") != NULL)
        e = json_get_text(c->body, "then", REASON_MAX, &hold->on_expiry, &c->info);
    if (e == ERR_OK && !text_eq(hold->on_expiry, "apply") && !text_eq(hold->on_expiry, "cancel"))
        e = err_field(&c->info, ERR_INVALID, "then", "\"then\" must be \"apply\" or \"cancel\"");
    return e;
}

static enum err handle_hold(struct call *c)
{
    char id[DEVICE_ID_SIZE];
    struct change change = {.call = c, .hold = {.device_id = id, .owner = c->actor, .on_expiry = "apply"}};
    enum err e = hold_read(c, &change.hold);
    if (e == ERR_OK)
        e = device_find(c->db, call_path(c, "id"), id, &c->info);
    if (e == ERR_OK)
        e = db_transaction(c->db, hold_work, &change, &c->info);
    cleanup_free char *json = change.json;
    if (e != ERR_OK)
        return e;
    c->server->broker.hint(c->server->broker.link, id);
    return call_answer_text(c, 201, json);
}

static enum err handle_release(struct call *c)
{
    char id[DEVICE_ID_SIZE];
    struct change change = {.call = c, .hold = {.device_id = id}};
    enum err e = device_find(c->db, call_path(c, "id"), id, &c->info);
    if (e == ERR_OK)
        e = db_transaction(c->db, release_work, &change, &c->info);
    cleanup_free char *json = change.json;
    if (e != ERR_OK)
        return e;
    if (json != NULL)
        c->server->broker.hint(c->server->broker.link, id);
    return call_answer_empty(c, 204);
}

static const struct route routes[] = {
    {"GET", "/api/v1/devices", PERMIT_READ, BODY_NONE, handle_list},
    {"GET", "/api/v1/devices/{id}", PERMIT_READ, BODY_NONE, handle_show},
    {"GET", "/api/v1/devices/{id}/events", PERMIT_READ, BODY_NONE, handle_events},
    {"POST", "/api/v1/devices/{id}/hold", PERMIT_DEVICE_HOLD, BODY_JSON, handle_hold},
    {"DELETE", "/api/v1/devices/{id}/hold", PERMIT_DEVICE_HOLD, BODY_NONE, handle_release},
};
const struct route_table routes_devices = {routes, sizeof routes / sizeof routes[0]};
