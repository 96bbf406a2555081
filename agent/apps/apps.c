#include "agent/apps/apps.h"

#include "agent/apps/apps_internal.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/text.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>

enum {
    RESTART_FIRST_MS = 1000,
    RESTART_MOST_MS = 60 * 1000,
    CLOSE_MAX_MS = 5 * 1000,
    START_LEAST_MS = 130 * 1000 /* reading files, and stopping what has no command for it */
};

static struct app *app_find(const struct apps *apps, const char *slot)
{
    for (size_t i = 0; i < apps->count; i++)
        if (text_eq(apps->apps[i].slot, slot))
            return (struct app *)&apps->apps[i];
    return NULL;
}

static struct app *app_add(struct apps *apps, const char *slot)
{
    if (apps->count == SLOT_COUNT_MAX)
        return NULL;
    struct app *app = &apps->apps[apps->count++];
    *app = (struct app){.apps = apps};
    (void)text_copy(app->slot, sizeof app->slot, slot);
    unit_init(&app->unit, apps->loop, apps->settings.systemctl, slot, app);
    return app;
}

static void version_take(struct app_version *version, const char *slot, const char *dir, struct manifest **manifest)
{
    app_version_free(version);
    (void)text_copy(version->slot, sizeof version->slot, slot);
    (void)text_copy(version->dir, sizeof version->dir, dir);
    version->manifest = *manifest;
    *manifest = NULL;
}

static bool version_is(const struct app_version *version, const char *dir, const struct manifest *manifest)
{
    return version->manifest != NULL && text_eq(version->manifest->id, manifest->id) && text_eq(version->dir, dir);
}

enum err apps_run(struct apps *apps, const char *slot, const char *dir, struct manifest **manifest, bool probation)
{
    struct app *app = app_find(apps, slot);
    if (app == NULL)
        app = app_add(apps, slot);
    if (app == NULL)
        return ERR_TOO_LARGE;
    const struct app_version *wanted = app->replaced ? &app->next : &app->now;
    if (version_is(wanted, dir, *manifest)) {
        if (app->watched != probation)
            probation_set(app, probation);
        return ERR_OK;
    }
    probation_set(app, probation);
    app->retry = RETRY_INIT(RESTART_FIRST_MS, RESTART_MOST_MS, 0.2);
    if (app->state == APP_NONE) {
        version_take(&app->now, slot, dir, manifest);
        app_begin(app);
        return ERR_OK;
    }
    version_take(&app->next, slot, dir, manifest);
    app->replaced = true;
    app_end(app);
    return ERR_OK;
}

void apps_stop(struct apps *apps, const char *slot)
{
    struct app *app = app_find(apps, slot);
    if (app == NULL || app->state == APP_NONE)
        return;
    probation_set(app, false);
    app_version_free(&app->next);
    app->replaced = true;
    app_end(app);
}

bool apps_known(const struct apps *apps, const char *slot)
{
    const struct app *app = app_find(apps, slot);
    return app != NULL && app->state != APP_NONE;
}

const char *apps_running(const struct apps *apps, const char *slot)
{
    const struct app *app = app_find(apps, slot);
    return app != NULL && app->state == APP_RUNNING ? app->now.manifest->id : NULL;
}

void apps_collect(struct apps *apps, const char *slot)
{
    struct app *app = app_find(apps, slot);
    if (app != NULL)
        probation_last(app);
}

int64_t apps_start_ms(const struct apps *apps, const char *slot)
{
    const struct app *app = app_find(apps, slot);
    int64_t most = START_LEAST_MS;
    if (app != NULL && app->now.manifest != NULL)
        most += (int64_t)app->now.manifest->app.timeout_s * 1000;
    if (app != NULL && app->replaced && app->next.manifest != NULL)
        most += (int64_t)app->next.manifest->app.timeout_s * 1000;
    return most;
}

enum err apps_open(struct loop *loop, const struct apps_settings *settings, const struct fetch_setup *setup,
                   const struct apps_hooks *hooks, struct apps **ret_apps)
{
    struct apps *apps = calloc(1, sizeof *apps);
    if (apps == NULL)
        return ERR_NO_MEMORY;
    apps->loop = loop;
    apps->settings = *settings;
    apps->setup = setup;
    apps->hooks = *hooks;
    int left = place_clear(NULL, NULL);
    if (left > 0)
        log_warn("apps_left_over", "processes=%d action=killed", left);
    *ret_apps = apps;
    return ERR_OK;
}

void apps_close(struct apps *apps)
{
    if (apps == NULL)
        return;
    int64_t deadline = clock_mono_ms() + CLOSE_MAX_MS;
    bool any = false;
    for (size_t i = 0; i < apps->count; i++) {
        child_signal(&apps->apps[i].child, SIGTERM);
        any = any || child_running(&apps->apps[i].child);
    }
    for (size_t i = 0; i < apps->count; i++) {
        struct app *app = &apps->apps[i];
        int64_t left = deadline - clock_mono_ms();
        struct pollfd end = {.fd = app->child.pidfd, .events = POLLIN};
        if (child_running(&app->child))
            (void)poll(&end, 1, left > 0 ? (int)left : 0);
        probation_set(app, false);
        child_destroy(&app->child);
        command_cancel(&app->command);
        unit_cancel(&app->unit);
        fetch_cancel(&app->verify);
        loop_timer_clear(apps->loop, &app->timer);
        app_version_free(&app->now);
        app_version_free(&app->next);
    }
    if (any)
        (void)place_clear(NULL, NULL);
    free(apps);
}
