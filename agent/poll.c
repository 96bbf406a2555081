/* Asks the server for the desired document: nothing depends on a message arriving. */

#include "agent/agent_internal.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/crypt.h"
#include "common/base/log.h"

enum { RETRY_FIRST_MS = 2000, RETRY_MOST_MS = 5 * 60 * 1000 };
#define POLL_SPREAD 0.1

static void poll_start(void *user);

void poll_document(struct agent *agent, const char *text, size_t len, const char *from)
{
    struct err_info info = {0};
    enum err e = updater_desired(agent->updater, text, len, &info);
    if (e != ERR_OK)
        log_warn("desired_refused", "from=%s error=%s detail=\"%s\"", from, err_name(e), info.text);
    report_changed(agent); /* the server learns what has been seen, and beats go on at the period it asks for */
}

static void poll_done(void *user, const struct fetch_answer *answer)
{
    struct agent *agent = user;
    cleanup_free char *text = NULL;
    size_t len = 0;
    if (!answer->ok) {
        int64_t delay = retry_next_ms(&agent->poll_retry, random_unit());
        if (delay > agent->settings->poll_ms)
            delay = agent->settings->poll_ms;
        if (delay < answer->wait_ms)
            delay = answer->wait_ms;
        log_warn("poll_failed", "code=%s detail=\"%s\" retry_ms=%lld", answer->code, answer->detail, (long long)delay);
        loop_timer_set(agent->loop, &agent->poll_timer, delay, poll_start, agent);
        return;
    }
    agent->contact_ms = clock_wall_ms();
    agent->poll_retry = RETRY_INIT(RETRY_FIRST_MS, RETRY_MOST_MS, 0.5);
    loop_timer_set(agent->loop, &agent->poll_timer,
                   retry_jitter_ms(agent->settings->poll_ms, POLL_SPREAD, random_unit()), poll_start, agent);
    if (link_is_up(agent->link))
        self_report(agent->self); /* both ways to the server work */
    if (json_print(json_object_get(answer->json, "desired"), &text, &len) == ERR_OK)
        poll_document(agent, text, len, "https");
}

static void poll_start(void *user)
{
    struct agent *agent = user;
    struct err_info info = {0};
    if (fetch_running(&agent->poll_fetch))
        return;
    if (fetch_start(&agent->poll_fetch, agent->loop, &agent->fetch_setup, "desired", json_object(), NULL, poll_done,
                    agent, &info) == ERR_OK)
        return;
    log_error("poll_failed", "code=not_asked detail=\"%s\"", info.text);
    loop_timer_set(agent->loop, &agent->poll_timer, agent->settings->poll_ms, poll_start, agent);
}

void poll_now(struct agent *agent)
{
    agent->poll_retry = RETRY_INIT(RETRY_FIRST_MS, RETRY_MOST_MS, 0.5);
    poll_start(agent);
}

void poll_stop(struct agent *agent)
{
    fetch_cancel(&agent->poll_fetch);
    loop_timer_clear(agent->loop, &agent->poll_timer);
}
