#include "common/base/cleanup.h"
#include "common/base/text.h"
#include "server/core/alert.h"
#include "server/http/routes/routes.h"
#include "server/store/alert.h"
#include "server/store/event.h"

#include <inttypes.h>
#include <stdio.h>

enum { NOTE_MAX = 500 };

static enum err handle_list(struct call *c)
{
    struct alert_filter filter = {.state = call_query(c, "state"), .device = call_query(c, "device")};
    if (filter.state != NULL) {
        enum alert_state state = alert_state_parse(filter.state);
        if (state == ALERT_NONE || state == ALERT_STATES_)
            return err_field(&c->info, ERR_INVALID, "state", "\"state\" must be pending, firing or resolved");
    }
    cleanup_free char *json = NULL;
    enum err e = call_query_page(c, &filter.limit, &filter.before_id);
    if (e == ERR_OK)
        e = alert_list(c->db, &filter, &json, &c->info);
    return e == ERR_OK ? call_answer_text(c, 200, json) : e;
}

struct ack {
    struct call *call;
    int64_t id;
    const char *note; /* NULL: none */
    json_t *alert;    /* afterwards */
};

static enum err ack_tell(const struct ack *ack, struct db *db, const json_t *before, struct err_info *info)
{
    char target[40];
    (void)snprintf(target, sizeof target, "alert:%" PRId64, ack->id);
    enum err e = call_audit(ack->call, db, "alert.ack", target, before, ack->alert, info);
    if (e != ERR_OK)
        return e;
    json_auto_t *data = json_pack("{s:o, s:O, s:O}", "alert", json_id(ack->id), "kind",
                                  json_object_get(ack->alert, "kind"), "note", json_object_get(ack->alert, "ack_note"));
    if (data == NULL)
        return ERR_NO_MEMORY;
    const struct event_entry event = {
        .kind = "alert.ack",
        .actor = ack->call->actor,
        .device_id = json_text_or_null(json_object_get(ack->alert, "device"), "id"),
        .data = data,
    };
    return event_add(db, &event, info);
}

static enum err ack_work(struct db *db, void *arg, struct err_info *info)
{
    struct ack *ack = arg;
    json_auto_t *before = NULL;
    json_decref(ack->alert); /* of a try before */
    ack->alert = NULL;
    enum err e = alert_get(db, ack->id, &before, info);
    if (e == ERR_OK)
        e = alert_ack(db, ack->id, ack->call->actor, ack->note, info);
    if (e == ERR_OK)
        e = alert_get(db, ack->id, &ack->alert, info);
    return e == ERR_OK ? ack_tell(ack, db, before, info) : e;
}

static enum err handle_ack(struct call *c)
{
    static const char *const allowed[] = {"note", NULL};
    struct ack ack = {.call = c};
    enum err e = call_path_id(c, "id", &ack.id);
    if (e == ERR_OK)
        e = json_only(c->body, allowed, &c->info);
    if (e == ERR_OK && json_object_get(c->body, "note") != NULL)
        e = json_get_text(c->body, "note", NOTE_MAX, &ack.note, &c->info);
    if (e == ERR_OK)
        e = db_transaction(c->db, ack_work, &ack, &c->info);
    if (e == ERR_OK)
        return call_answer_json(c, 200, ack.alert);
    json_decref(ack.alert);
    return e;
}

static const struct route routes[] = {
    {"GET", "/api/v1/alerts", PERMIT_READ, BODY_NONE, handle_list},
    {"POST", "/api/v1/alerts/{id}/ack", PERMIT_ALERT_ACK, BODY_JSON, handle_ack},
};
const struct route_table routes_alerts = {routes, sizeof routes / sizeof routes[0]};
