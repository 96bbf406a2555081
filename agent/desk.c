/* Answers people at the device: `muster-agent status` and `muster-agent rollback` ask on a unix socket, one JSON object
 * per line. Who may open the socket is root or the agent's own user. */

#include "agent/agent_internal.h"
#include "agent/core/status.h"
#include "agent/update/gather.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "common/base/version.h"

#include <limits.h>
#include <poll.h>
#include <unistd.h>

static json_t *error_answer(const struct err_info *info, enum err e)
{
    const char *text = info->text[0] != '\0' ? info->text : err_name(e);
    return json_pack("{sb ss ss}", "ok", 0, "code", err_name(e), "detail", text);
}

static json_t *status_answer(struct agent *agent)
{
    char dir[PATH_MAX];
    struct status_slot slots[SLOT_COUNT_MAX];
    struct status s = {.live = true,
                       .agent_version = MUSTER_VERSION,
                       .uptime_s = (clock_mono_ms() - agent->started_ms) / 1000,
                       .state_dir = getcwd(dir, sizeof dir),
                       .name = agent->settings->enrolment.name,
                       .device = agent->identity.device,
                       .certificate_until_ms = agent->identity.not_after,
                       .server_url = agent->settings->server_url,
                       .connected = agent->link != NULL && link_is_up(agent->link),
                       .contact_ms = agent->contact_ms,
                       .generation = updater_generation(agent->updater),
                       .spool_limit = spool_limit(agent->spool),
                       .slots = slots};
    s.slot_count = updater_look(agent->updater, slots);
    if (spool_count(agent->state, &s.spool_items, &s.spool_bytes) != ERR_OK)
        s.spool_items = s.spool_bytes = -1;
    gather_disk(&s.disk_total, &s.disk_free);
    json_t *json = status_json(&s);
    return json == NULL ? NULL : json_pack("{sb so}", "ok", 1, "status", json);
}

static json_t *rollback_answer(struct agent *agent, const json_t *request)
{
    char text[STATUS_TEXT_SIZE];
    struct err_info info = {0};
    const char *slot = json_text_or_null(request, "slot");
    const char *by = json_text_or_null(request, "by");
    enum err e = slot == NULL || by == NULL ? err_set(&info, ERR_INVALID, "`slot` and `by` are needed") : ERR_OK;
    if (e == ERR_OK)
        e = updater_back(agent->updater, slot, by, text, &info);
    log_info("rollback_asked", "slot=%s by=%s error=%s", slot == NULL ? "" : slot, by == NULL ? "" : by, err_name(e));
    return e == ERR_OK ? json_pack("{sb ss}", "ok", 1, "text", text) : error_answer(&info, e);
}

/* A control_answer. */
static char *answer(void *arg, const char *line, size_t len)
{
    char *text = NULL;
    struct err_info info = {0};
    json_auto_t *request = NULL;
    enum err e = json_parse(line, len, JSON_BYTES_MAX, &request, &info);
    const char *op = json_text_or_null(request, "op");
    json_auto_t *reply = NULL;
    if (e != ERR_OK)
        reply = error_answer(&info, e);
    else if (text_eq(op, "status"))
        reply = status_answer(arg);
    else if (text_eq(op, "rollback"))
        reply = rollback_answer(arg, request);
    else
        reply = json_pack("{sb ss ss}", "ok", 0, "code", "invalid", "detail", "`op` must be `status` or `rollback`");
    return json_print(reply, &text, NULL) == ERR_OK ? text : NULL;
}

static void asked(void *user, short revents)
{
    struct agent *agent = user;
    bool stop = false;
    (void)revents;
    if (control_serve(agent->control, 0, -1, &stop) != ERR_OK)
        log_warn("desk_failed", "action=\"goes on\"");
}

void desk_open(struct agent *agent)
{
    struct err_info info = {0};
    if (control_open(DESK_SOCKET, answer, agent, &agent->control, &info) != ERR_OK) {
        log_warn("desk_closed", "detail=\"%s\" action=\"`muster-agent status` cannot ask this agent\"", info.text);
        return;
    }
    loop_watch_set(agent->loop, &agent->control_watch, control_fd(agent->control), POLLIN, asked, agent);
}

void desk_close(struct agent *agent)
{
    if (agent->control == NULL)
        return;
    loop_watch_clear(agent->loop, &agent->control_watch);
    agent->control = control_close(agent->control);
}
