/* Starting and stopping the version of an app. */

#include "agent/apps/apps_internal.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/crypt.h"
#include "common/base/log.h"
#include "common/base/text.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    LINE_MAX_BYTES = 400,
    STOP_ASKED_MS = 5 * 1000, /* to end after its command `stop` */
    STOP_TERM_MS = 10 * 1000, /* to end after SIGTERM */
    STEADY_MS = 60 * 1000     /* after that the next restart is a quick one again */
};

static void app_start(struct app *app);

/* ---- its end ---- */

static void begin_again(void *user)
{
    app_begin(user);
}

static void start_again(void *user)
{
    app_start(user);
}

/* Starts it again after a while, by reading its files again or without. */
static void later(struct app *app, void (*how)(void *user))
{
    app->state = APP_WAITING;
    loop_timer_set(app->apps->loop, &app->timer, retry_next_ms(&app->retry, random_unit()), how, app);
}

void app_ended(struct app *app, const char *how, bool started)
{
    char detail[APP_SAID_MAX + 128];
    const struct apps_hooks *hooks = &app->apps->hooks;
    char bundle[SHA256_HEX];
    (void)text_copy(bundle, sizeof bundle, app->now.manifest->id);
    (void)snprintf(detail, sizeof detail, "%s%s%s", how, app->said[0] == '\0' ? "" : ": ", app->said);
    probation_pause(app);
    if (started && clock_mono_ms() - app->started_ms > STEADY_MS)
        retry_reset(&app->retry);
    later(app, start_again);
    log_warn("app_exited", "slot=%s bundle=%.12s started=%s detail=\"%s\"", app->slot, bundle,
             started ? "true" : "false", detail);
    hooks->exited(hooks->user, app->slot, bundle, detail);
    if (app->state == APP_WAITING && text_eq(app->now.manifest->id, bundle)) /* the hook may have changed it */
        (void)probation_ended(app, detail, started);
}

/* Nothing of `now` runs any more. */
static void app_stopped(struct app *app)
{
    (void)place_clear(app->slot, app->now.manifest->id);
    app_version_free(&app->now);
    app->state = APP_NONE;
    app->replaced = false;
    if (app->next.manifest == NULL)
        return;
    app->now = app->next;
    app->next = (struct app_version){0};
    app_begin(app);
}

static void program_done(void *user, int status)
{
    struct app *app = user;
    char how[64];
    if (app->state == APP_STOPPING) {
        if (!command_running(&app->command)) { /* else the command may finish what it does */
            loop_timer_clear(app->apps->loop, &app->timer);
            app_stopped(app);
        }
        return;
    }
    (void)place_clear(app->slot, app->now.manifest->id);
    child_status_text(status, how, sizeof how);
    app_ended(app, how, true);
}

static void program_line(void *user, char *text)
{
    struct app *app = user;
    text_printable(text);
    (void)text_copy(app->said, sizeof app->said, text);
    log_info("app_says", "slot=%s %s", app->slot, text);
}

/* ---- its start ---- */

static void app_up(struct app *app)
{
    const struct apps_hooks *hooks = &app->apps->hooks;
    char bundle[SHA256_HEX];
    (void)text_copy(bundle, sizeof bundle, app->now.manifest->id);
    app->state = APP_RUNNING;
    app->started_ms = clock_mono_ms();
    loop_timer_clear(app->apps->loop, &app->timer);
    log_info("app_ready", "slot=%s bundle=%.12s version=%s pid=%d", app->slot, bundle, app->now.manifest->version,
             (int)app->child.pid);
    probation_begin(app);
    hooks->ready(hooks->user, app->slot, bundle, true);
}

static enum err program_start(struct app *app, struct err_info *info)
{
    char data[VERSION_PATH_SIZE];
    const struct manifest_command *run = &app->now.manifest->app.run;
    const char *argv[MANIFEST_WORDS_MAX + 1] = {NULL};
    for (size_t i = 0; i < run->count && i < MANIFEST_WORDS_MAX; i++)
        argv[i] = run->words[i];
    cleanup_free const char **environment = place_environment(&app->now);
    struct child_spec spec = {.argv = argv,
                              .output = CHILD_STDOUT_AND_STDERR,
                              .group = true,
                              .dir = app->now.dir,
                              .environment = environment,
                              .line_max = LINE_MAX_BYTES,
                              .line = program_line,
                              .done = program_done,
                              .user = app};
    enum err e = environment == NULL ? ERR_NO_MEMORY : place_data(app->slot, data);
    if (e != ERR_OK)
        return err_set(info, e, "the data directory cannot be made: %s", err_name(e));
    return child_start(&app->child, app->apps->loop, &spec, info);
}

static void unit_started(void *user, bool ok, const char *detail)
{
    struct app *app = user;
    if (!ok) {
        app_ended(app, detail, false);
        return;
    }
    app->restarts_before = 0;
    app_up(app);
}

/* The unit of this very version may run already: systemd does not end with the agent. */
static void unit_there(void *user, const struct unit_look *look)
{
    struct app *app = user;
    if (look->state == UNIT_ACTIVE)
        app_up(app);
    else
        unit_start(&app->unit, &app->now, unit_started);
}

static void unit_gone(void *user, bool ok, const char *detail)
{
    struct app *app = user;
    if (!ok)
        log_warn("unit_not_removed", "slot=%s detail=\"%s\"", app->slot, detail);
    app_start(app);
}

static void app_start(struct app *app)
{
    struct err_info info = {0};
    const struct manifest_app *m = &app->now.manifest->app;
    app->said[0] = '\0';
    app->state = APP_STARTING;
    if (m->unit != NULL && unit_same(&app->unit, &app->now)) {
        unit_look(&app->unit, unit_there);
    } else if (m->unit != NULL) {
        unit_start(&app->unit, &app->now, unit_started);
    } else if (unit_known(&app->unit)) {
        unit_stop(&app->unit, true, unit_gone);
    } else if (m->run.count == 0 || program_start(app, &info) == ERR_OK) {
        app_up(app);
    } else {
        (void)text_copy(app->said, sizeof app->said, info.text);
        app_ended(app, "not started", false);
    }
}

static void verified(void *user, const struct fetch_answer *answer)
{
    struct app *app = user;
    const struct apps_hooks *hooks = &app->apps->hooks;
    char bundle[SHA256_HEX];
    (void)text_copy(bundle, sizeof bundle, app->now.manifest->id);
    if (answer->ok) {
        app_start(app);
        return;
    }
    later(app, begin_again);
    log_error("app_not_verified", "slot=%s bundle=%.12s code=%s detail=\"%s\"", app->slot, bundle, answer->code,
              answer->detail);
    if (answer->transient)
        return;
    if (text_eq(answer->code, "payload_mismatch"))
        hooks->ready(hooks->user, app->slot, bundle, false);
    else /* nobody knows what the files are */
        hooks->failed(hooks->user, app->slot, bundle, answer->code, answer->detail);
}

void app_begin(struct app *app)
{
    struct err_info info = {0};
    app->state = APP_VERIFYING;
    json_t *members = json_pack("{ss ss}", "dir", app->now.dir, "bundle", app->now.manifest->id);
    if (fetch_start(&app->verify, app->apps->loop, app->apps->setup, "verify", members, NULL, verified, app, &info) ==
        ERR_OK)
        return;
    log_error("app_not_verified", "slot=%s code=not_asked detail=\"%s\"", app->slot, info.text);
    later(app, begin_again);
}

/* ---- stopping ---- */

static void stop_kill(void *user)
{
    struct app *app = user;
    child_signal(&app->child, SIGKILL);
}

static void stop_term(void *user)
{
    struct app *app = user;
    child_signal(&app->child, SIGTERM);
    loop_timer_set(app->apps->loop, &app->timer, STOP_TERM_MS, stop_kill, app);
}

static void stop_over(void *user)
{
    app_stopped(user);
}

static void unit_stopped(void *user, bool ok, const char *detail)
{
    struct app *app = user;
    if (!ok)
        log_warn("unit_not_stopped", "slot=%s detail=\"%s\"", app->slot, detail);
    app_stopped(app);
}

/* The program or unit itself; grace_ms: what it has before SIGTERM. */
static void stop_now(struct app *app, int64_t grace_ms)
{
    bool unit_next = app->next.manifest != NULL && app->next.manifest->app.unit != NULL;
    if (unit_known(&app->unit) && !child_running(&app->child))
        unit_stop(&app->unit, !unit_next, unit_stopped);
    else if (!child_running(&app->child))
        loop_timer_set(app->apps->loop, &app->timer, 0, stop_over, app);
    else if (grace_ms > 0)
        loop_timer_set(app->apps->loop, &app->timer, grace_ms, stop_term, app);
    else
        stop_term(app);
}

static void stop_said(void *user, enum command_end end, const char *detail)
{
    struct app *app = user;
    if (end != COMMAND_WELL)
        log_warn("app_stop_failed", "slot=%s detail=\"%s\"", app->slot, detail);
    stop_now(app, end == COMMAND_WELL ? STOP_ASKED_MS : 0);
}

void app_end(struct app *app)
{
    bool up = app->state == APP_RUNNING;
    if (app->state == APP_STOPPING)
        return; /* whatever is wanted by then is started */
    probation_pause(app);
    fetch_cancel(&app->verify);
    unit_cancel(&app->unit);
    command_cancel(&app->command);
    loop_timer_clear(app->apps->loop, &app->timer);
    app->state = APP_STOPPING;
    if (up && app->now.manifest->app.stop.count > 0)
        command_start(&app->command, app->apps->loop, "stop", &app->now, &app->now.manifest->app.stop, stop_said, app);
    else
        stop_now(app, 0);
}
