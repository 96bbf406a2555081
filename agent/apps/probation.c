/* Is an app well? Its checks, its restarts, and what systemd says of its unit. */

#include "agent/apps/apps_internal.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/text.h"

#include <stdio.h>

enum {
    CHECK_FIRST_MS = 1000,
    CHECK_EVERY_MS = 3000,    /* in probation */
    LOOK_EVERY_MS = 30 * 1000 /* at a unit, later */
};

static void look(void *user);

static void look_later(struct app *app, int64_t delay_ms)
{
    loop_timer_set(app->apps->loop, &app->look_timer, delay_ms, look, app);
}

static void fail(struct app *app, const char *code, const char *detail)
{
    const struct apps_hooks *hooks = &app->apps->hooks;
    char bundle[SHA256_HEX];
    (void)text_copy(bundle, sizeof bundle, app->now.manifest->id);
    loop_timer_clear(app->apps->loop, &app->look_timer);
    hooks->failed(hooks->user, app->slot, bundle, code, detail);
}

static void pass(struct app *app)
{
    char detail[96];
    const struct apps_hooks *hooks = &app->apps->hooks;
    char bundle[SHA256_HEX];
    (void)text_copy(bundle, sizeof bundle, app->now.manifest->id);
    app->last = false;
    (void)snprintf(detail, sizeof detail, "%d checks, %d restarts", app->checks, app->restarts);
    hooks->passed(hooks->user, app->slot, bundle, detail);
}

/* ---- checks ---- */

/* A program that has only begun may need a while to get well; one that was well may not get ill. */
static bool check_early(const struct app *app)
{
    int64_t limit_ms = (int64_t)app->now.manifest->app.timeout_s * 1000;
    return !app->last && !app->healthy && clock_mono_ms() - app->started_ms < limit_ms;
}

static void check_done(void *user, enum command_end end, const char *detail)
{
    struct app *app = user;
    if (!app->watched)
        return;
    if (end == COMMAND_WELL) {
        app->healthy = true;
        app->checks++;
        if (app->last)
            pass(app);
        else
            look_later(app, CHECK_EVERY_MS);
    } else if (check_early(app)) {
        log_info("app_not_well_yet", "slot=%s detail=\"%s\"", app->slot, detail);
        look_later(app, CHECK_FIRST_MS);
    } else {
        fail(app, "check_failed", detail);
    }
}

static void check(struct app *app)
{
    const struct manifest_command *words = &app->now.manifest->app.check;
    if (!app->watched || app->state != APP_RUNNING)
        return;
    if (words->count == 0 && app->last)
        pass(app);
    else if (words->count > 0 && !command_running(&app->command)) /* else its end will do */
        command_start(&app->command, app->apps->loop, "check", &app->now, words, check_done, app);
    else if (app->now.manifest->app.unit != NULL)
        look_later(app, CHECK_EVERY_MS);
}

/* ---- units ---- */

static void unit_looked(void *user, const struct unit_look *seen)
{
    struct app *app = user;
    char how[96];
    if (seen->state == UNIT_DOWN) {
        (void)snprintf(how, sizeof how, "systemd says that it has ended: %s", seen->result);
        app_ended(app, how, true);
        return;
    }
    if (seen->state == UNIT_UNKNOWN)
        log_warn("unit_unknown", "slot=%s unit=%s", app->slot, app->unit.name);
    if (!app->watched) {
        look_later(app, LOOK_EVERY_MS);
        return;
    }
    if (app->restarts_before < 0 || seen->restarts < app->restarts_before)
        app->restarts_before = seen->restarts;
    int restarts = (int)(seen->restarts - app->restarts_before);
    if (restarts > app->now.manifest->health.max_restarts) {
        (void)snprintf(how, sizeof how, "systemd had to restart it %d times", restarts);
        fail(app, "app_crashed", how);
    } else if (app->last && seen->state != UNIT_ACTIVE) {
        fail(app, "app_crashed", "the unit is not active at the end of its probation");
    } else {
        app->restarts = restarts > app->restarts ? restarts : app->restarts;
        check(app);
    }
}

static void look(void *user)
{
    struct app *app = user;
    if (app->state != APP_RUNNING) {
        if (app->last)
            fail(app, "app_crashed", "it does not run at the end of its probation");
        return;
    }
    if (app->now.manifest->app.unit != NULL)
        unit_look(&app->unit, unit_looked);
    else
        check(app);
}

/* ---- what others tell ---- */

void probation_set(struct app *app, bool watched)
{
    app->watched = watched;
    app->healthy = false;
    app->last = false;
    app->restarts = 0;
    app->checks = 0;
    app->restarts_before = -1;
    if (app->state != APP_STOPPING)
        command_cancel(&app->command);
    loop_timer_clear(app->apps->loop, &app->look_timer);
    if (app->state == APP_RUNNING)
        probation_begin(app);
}

void probation_begin(struct app *app)
{
    bool unit = app->now.manifest->app.unit != NULL;
    if (unit || (app->watched && app->now.manifest->app.check.count > 0))
        look_later(app, app->watched ? CHECK_FIRST_MS : LOOK_EVERY_MS);
}

void probation_pause(struct app *app)
{
    loop_timer_clear(app->apps->loop, &app->look_timer);
    if (app->state != APP_STOPPING)
        command_cancel(&app->command);
}

bool probation_ended(struct app *app, const char *detail, bool started)
{
    if (!app->watched)
        return false;
    app->restarts++;
    if (started && !app->last && app->restarts <= app->now.manifest->health.max_restarts)
        return false;
    fail(app, started ? "app_crashed" : "app_start_failed", detail);
    return true;
}

void probation_last(struct app *app)
{
    if (!app->watched)
        return;
    app->last = true;
    if (app->state != APP_RUNNING || !command_running(&app->command)) /* else the end of the check will do */
        look_later(app, 0);
}
