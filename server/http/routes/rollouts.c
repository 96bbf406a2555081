#include "common/base/cleanup.h"
#include "common/base/json.h"
#include "server/core/assignment.h"
#include "server/http/routes/rollout_body.h"
#include "server/http/routes/routes.h"
#include "server/store/assignment.h"
#include "server/store/event.h"
#include "server/store/rollout.h"
#include "server/store/rollout_create.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { REASON_MAX = 500, TARGET_MAX = 48 };

static enum err handle_list(struct call *c)
{
    int64_t limit = 0;
    int64_t before = 0;
    cleanup_free char *json = NULL;
    enum err e = call_query_page(c, &limit, &before);
    if (e == ERR_OK)
        e = rollout_list(c->db, limit, before, &json, &c->info);
    return e == ERR_OK ? call_answer_text(c, 200, json) : e;
}

static enum err answer_rollout(struct call *c, unsigned status, int64_t id)
{
    cleanup_free char *json = NULL;
    enum err e = rollout_show(c->db, id, &json, &c->info);
    return e == ERR_OK ? call_answer_text(c, status, json) : e;
}

static enum err handle_show(struct call *c)
{
    int64_t id = 0;
    enum err e = call_path_id(c, "id", &id);
    return e == ERR_OK ? answer_rollout(c, 200, id) : e;
}

static enum err handle_devices(struct call *c)
{
    int64_t id = 0;
    enum assignment_state known;
    cleanup_free char *json = NULL;
    const char *state = call_query(c, "state");
    enum err e = call_path_id(c, "id", &id);
    if (e == ERR_OK && state != NULL && !assignment_parse(state, &known))
        e = err_field(&c->info, ERR_INVALID, "state", "there is no such state of a device in a rollout");
    if (e == ERR_OK)
        e = assignment_list(c->db, id, state, &json, &c->info);
    return e == ERR_OK ? call_answer_text(c, 200, json) : e;
}

static enum err handle_events(struct call *c)
{
    int64_t id = 0;
    int64_t limit = 0;
    int64_t before = 0;
    cleanup_free char *json = NULL;
    enum err e = call_path_id(c, "id", &id);
    if (e == ERR_OK)
        e = call_query_page(c, &limit, &before);
    if (e == ERR_OK)
        e = rollout_exists(c->db, id, &c->info);
    if (e == ERR_OK)
        e = event_list(c->db, NULL, id, limit, before, &json, &c->info);
    return e == ERR_OK ? call_answer_text(c, 200, json) : e;
}

/* ---------------------------------------------------------------- creating */

struct creation {
    struct call *call;
    struct rollout_request request;
    int64_t id;
};

static enum err create_work(struct db *db, void *arg, struct err_info *info)
{
    struct creation *creation = arg;
    char target[TARGET_MAX];
    enum err e = rollout_create(db, &creation->request, creation->call->actor, &creation->id, info);
    (void)snprintf(target, sizeof target, "rollout:%" PRId64, creation->id);
    return e == ERR_OK ? call_audit(creation->call, db, "rollout.create", target, NULL, creation->call->body, info) : e;
}

static enum err handle_create(struct call *c)
{
    struct creation creation = {.call = c};
    enum err e = rollout_body_read(c, &creation.request);
    if (e == ERR_OK)
        e = db_transaction(c->db, create_work, &creation, &c->info);
    return e == ERR_OK ? answer_rollout(c, 201, creation.id) : e;
}

/* ---------------------------------------------------------------- pause, resume, abort, rollback */

struct action {
    struct call *call;
    enum rollout_action what;
    int64_t id;
    const char *reason;
};

static enum err action_work(struct db *db, void *arg, struct err_info *info)
{
    const struct action *action = arg;
    enum rollout_state from = ROLLOUT_DRAFT;
    enum rollout_state to = ROLLOUT_DRAFT;
    enum err e = rollout_act(db, action->id, action->what, action->reason, action->call->actor, &from, &to, info);
    if (e != ERR_OK)
        return e;
    char name[TARGET_MAX];
    char target[TARGET_MAX];
    (void)snprintf(name, sizeof name, "rollout.%s", rollout_action_name(action->what));
    (void)snprintf(target, sizeof target, "rollout:%" PRId64, action->id);
    json_auto_t *before = json_pack("{s:s}", "state", rollout_name(from));
    json_auto_t *after = json_pack("{s:s, s:s}", "state", rollout_name(to), "reason", action->reason);
    if (before == NULL || after == NULL)
        return ERR_NO_MEMORY;
    return call_audit(action->call, db, name, target, before, after, info);
}

/* Abort and rollback are for good, and others will ask why. */
static enum err reason_read(struct call *c, enum rollout_action what, const char **ret_reason)
{
    static const char *const allowed[] = {"reason", NULL};
    const char *reason = "";
    enum err e = json_only(c->body, allowed, &c->info);
    if (e == ERR_OK && json_has(c->body, "reason"))
        e = json_get_text(c->body, "reason", REASON_MAX, &reason, &c->info);
    bool blank = reason[strspn(reason, " \t\r\n")] == '\0';
    if (e == ERR_OK && blank && (what == ACTION_ABORT || what == ACTION_ROLLBACK)) {
        e = err_field(&c->info, ERR_INVALID, "reason", "\"reason\" is missing");
        err_next(&c->info, "Say why, for those who find the rollout stopped.");
    }
    if (e == ERR_OK)
        *ret_reason = blank ? "" : reason;
    return e;
}

static enum err act(struct call *c, enum rollout_action what)
{
    struct action action = {.call = c, .what = what};
    enum err e = call_path_id(c, "id", &action.id);
    if (e == ERR_OK)
        e = reason_read(c, what, &action.reason);
    if (e == ERR_OK)
        e = db_transaction(c->db, action_work, &action, &c->info);
    return e == ERR_OK ? answer_rollout(c, 200, action.id) : e;
}

static enum err handle_pause(struct call *c)
{
    return act(c, ACTION_PAUSE);
}

static enum err handle_resume(struct call *c)
{
    return act(c, ACTION_RESUME);
}

static enum err handle_abort(struct call *c)
{
    return act(c, ACTION_ABORT);
}

static enum err handle_rollback(struct call *c)
{
    return act(c, ACTION_ROLLBACK);
}

static const struct route routes[] = {
    {"GET", "/api/v1/rollouts", PERMIT_READ, BODY_NONE, handle_list},
    {"POST", "/api/v1/rollouts", PERMIT_ROLLOUT_WRITE, BODY_JSON, handle_create},
    {"GET", "/api/v1/rollouts/{id}", PERMIT_READ, BODY_NONE, handle_show},
    {"GET", "/api/v1/rollouts/{id}/devices", PERMIT_READ, BODY_NONE, handle_devices},
    {"GET", "/api/v1/rollouts/{id}/events", PERMIT_READ, BODY_NONE, handle_events},
    {"POST", "/api/v1/rollouts/{id}/pause", PERMIT_ROLLOUT_PAUSE, BODY_JSON, handle_pause},
    {"POST", "/api/v1/rollouts/{id}/resume", PERMIT_ROLLOUT_WRITE, BODY_JSON, handle_resume},
    {"POST", "/api/v1/rollouts/{id}/abort", PERMIT_ROLLOUT_WRITE, BODY_JSON, handle_abort},
    {"POST", "/api/v1/rollouts/{id}/rollback", PERMIT_ROLLOUT_WRITE, BODY_JSON, handle_rollback},
};
const struct route_table routes_rollouts = {routes, sizeof routes / sizeof routes[0]};
