#pragma once
/* Runs the apps: a program that is kept running, a systemd unit, or only files. One app per slot, started when its
 * files have been read once more and are what the manifest lists. Only the loop's thread may call. */

#include "agent/apps/place.h"
#include "agent/loop/fetch.h"
#include "agent/loop/loop.h"

struct apps;

struct apps_settings {
    const char *systemctl; /* path */
};

/* Called from the loop, never from inside a call; slot and bundle are those of the version in question. They may call
 * the apps. */
struct apps_hooks {
    /* It runs (good), or its files are not what the manifest lists. Again after each restart. */
    void (*ready)(void *user, const char *slot, const char *bundle, bool good);
    /* It has ended by itself, and will be started again after a while. */
    void (*exited)(void *user, const char *slot, const char *bundle, const char *detail);
    /* Its probation has failed: app_start_failed, app_crashed, check_failed; or what muster-fetch said, as io_error. */
    void (*failed)(void *user, const char *slot, const char *bundle, const char *code, const char *detail);
    /* The last look of its probation was good. */
    void (*passed)(void *user, const char *slot, const char *bundle, const char *detail);
    void *user;
};

/* Kills what an agent that was killed has left over. settings' texts and setup are borrowed. */
[[nodiscard]] enum err apps_open(struct loop *loop, const struct apps_settings *settings,
                                 const struct fetch_setup *setup, const struct apps_hooks *hooks,
                                 struct apps **ret_apps);

/* Ends all programs, by SIGTERM and 5 s later by SIGKILL, and waits for them. Units of systemd go on. */
void apps_close(struct apps *apps);

/* The slot shall run this version from now on; what else it runs is stopped first. probation: its checks and restarts
 * count. dir is relative to the state directory; *manifest is taken (and becomes NULL) unless that very version runs
 * already. ERR_TOO_LARGE: too many slots. */
[[nodiscard]] enum err apps_run(struct apps *apps, const char *slot, const char *dir, struct manifest **manifest,
                                bool probation);

/* The slot shall run nothing. */
void apps_stop(struct apps *apps, const char *slot);

/* The slot is, or was a moment ago, an app's. */
bool apps_known(const struct apps *apps, const char *slot);

/* The bundle that runs in the slot, its files proven; else NULL. */
const char *apps_running(const struct apps *apps, const char *slot);

/* Its probation is over: one last look, then passed() or failed(). */
void apps_collect(struct apps *apps, const char *slot);

/* Milliseconds within which the slot's present version must have started, what it replaces having been stopped. */
int64_t apps_start_ms(const struct apps *apps, const char *slot);
