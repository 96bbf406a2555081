#pragma once
/* Shared by apps.c (which version), run.c (starting and stopping it) and probation.c (is it well). */

#include "agent/apps/apps.h"
#include "agent/apps/command.h"
#include "agent/apps/unit.h"
#include "agent/core/retry.h"

enum { APP_SAID_MAX = 200 };

enum app_state {
    APP_NONE,      /* nothing to run */
    APP_VERIFYING, /* its files are being read */
    APP_STARTING,  /* by systemctl */
    APP_RUNNING,
    APP_WAITING, /* until it is started again */
    APP_STOPPING /* then what is wanted is started */
};

struct app {
    struct apps *apps;
    char slot[SLOT_NAME_SIZE];
    enum app_state state;
    struct app_version now;  /* what this is about; manifest NULL in APP_NONE only */
    bool replaced;           /* next is wanted (or nothing, when it is empty), not now */
    struct app_version next; /* when replaced */
    struct fetch verify;
    struct child child;     /* the program */
    struct command command; /* stop or check */
    struct unit unit;
    struct loop_timer timer; /* of the state */
    struct retry retry;
    int64_t started_ms;
    char said[APP_SAID_MAX + 1]; /* its last line */

    /* probation.c */
    bool watched; /* in probation */
    bool healthy; /* some check was good */
    bool last;    /* the next look decides */
    int restarts, checks;
    int64_t restarts_before; /* of the unit, by systemd, before the probation; -1: not known yet */
    struct loop_timer look_timer;
};

struct apps {
    struct loop *loop;
    struct apps_settings settings;
    const struct fetch_setup *setup;
    struct apps_hooks hooks;
    size_t count;
    struct app apps[SLOT_COUNT_MAX];
};

/* ---- run.c ---- */

/* Starts `now`, from the beginning. */
void app_begin(struct app *app);

/* Stops what runs; then starts `next`, or nothing. */
void app_end(struct app *app);

/* It has ended: it is told, and started again after a while. started: it had run. */
void app_ended(struct app *app, const char *how, bool started);

/* ---- probation.c ---- */

/* Counting begins anew, or stops. */
void probation_set(struct app *app, bool watched);

/* The app runs, from now on. */
void probation_begin(struct app *app);

/* The app does not run, or is about to be stopped. */
void probation_pause(struct app *app);

/* It has ended. True: that was once too often, and is told by failed(). */
bool probation_ended(struct app *app, const char *detail, bool started);

/* The last look. */
void probation_last(struct app *app);
