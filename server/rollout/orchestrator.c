#include "server/rollout/orchestrator.h"

#include "common/base/log.h"
#include "common/base/text.h"
#include "server/db/db.h"
#include "server/store/desired.h"
#include "server/store/hold.h"
#include "server/store/leader.h"
#include "server/store/rollout_step.h"
#include "server/thread/outage.h"
#include "server/thread/stopper.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

static const char leader_name[] = "orchestrator";

enum {
    ROUNDS_MAX = 4,  /* looks at the rollouts in one period, while each one changes something */
    HINTS_MAX = 1000 /* in one period: a fleet that moves at once is told within seconds, not in one burst */
};

struct orchestrator {
    struct db *db;
    int64_t period_ms;
    orchestrator_hint *hint;
    void *hint_arg;
    pthread_t thread;
    struct stopper stopper;
    struct outage outage; /* of the whole */
    struct outage stuck;  /* of single rollouts */
    /* only the thread */
    bool leading;
    int64_t epoch;
};

/* ---------------------------------------------------------------- one rollout */

struct job {
    const struct orchestrator *o;
    int64_t rollout_id;
    struct rollout_step step;
};

/* The facts are read in the same transaction in which it is checked that this server still leads. */
static enum err step_work(struct db *db, void *arg, struct err_info *info)
{
    struct job *job = arg;
    enum err e = leader_check(db, leader_name, job->o->epoch, info);
    return e == ERR_OK ? rollout_step(db, job->rollout_id, "system", &job->step, info) : e;
}

static bool lead_taken(enum err e, const struct err_info *info)
{
    return e == ERR_CONFLICT && text_eq(info->code, "not_leader");
}

/* With the connection the lock is gone, even if nobody else has it yet. */
static bool lead_lost(enum err e, const struct err_info *info)
{
    return e == ERR_UNAVAILABLE || lead_taken(e, info);
}

/* A rollout that cannot be stepped does not keep the others waiting. */
static enum err rollouts_step(struct orchestrator *o, bool *ret_changed, struct err_info *info)
{
    cleanup_rows struct rows *due = NULL;
    bool changed = false;
    bool stuck = false;
    enum err e = rollout_due(o->db, &due, info);
    for (size_t i = 0; e == ERR_OK && i < rows_count(due) && !stopper_stopping(&o->stopper); i++) {
        struct job job = {.o = o, .rollout_id = rows_i64(due, i, 0)};
        e = db_transaction(o->db, step_work, &job, info);
        changed = changed || (e == ERR_OK && job.step.changed);
        if (e == ERR_OK && job.step.moved)
            log_info("rollout", "id=%" PRId64 " state=%s", job.rollout_id, rollout_name(job.step.state));
        if (e != ERR_OK && !lead_lost(e, info)) {
            outage_begin(&o->stuck, e, info);
            stuck = true;
            e = ERR_OK;
        }
    }
    if (e == ERR_OK && !stuck)
        outage_end(&o->stuck);
    *ret_changed = changed;
    return e;
}

/* ---------------------------------------------------------------- one period */

static enum err holds_work(struct db *db, void *arg, struct err_info *info)
{
    const struct orchestrator *o = arg;
    enum err e = leader_check(db, leader_name, o->epoch, info);
    return e == ERR_OK ? hold_expire(db, info) : e;
}

/* Whatever moved a generation, here, in a route or in another server, is noticed here after its commit. */
static enum err hints_give(struct orchestrator *o, struct err_info *info)
{
    cleanup_rows struct rows *devices = NULL;
    enum err e = desired_take_hints(o->db, HINTS_MAX, &devices, info);
    for (size_t i = 0; e == ERR_OK && o->hint != NULL && i < rows_count(devices); i++)
        o->hint(o->hint_arg, rows_text(devices, i, 0));
    return e;
}

static enum err lead(struct orchestrator *o, struct err_info *info)
{
    if (o->leading)
        return ERR_OK;
    enum err e = leader_take(o->db, leader_name, &o->leading, &o->epoch, info);
    if (e == ERR_OK && o->leading)
        log_info("leading", "part=%s epoch=%" PRId64, leader_name, o->epoch);
    return e;
}

static enum err period(struct orchestrator *o, struct err_info *info)
{
    enum err e = lead(o, info);
    if (e != ERR_OK || !o->leading)
        return e;
    bool changed = true;
    for (int round = 0; e == ERR_OK && changed && round < ROUNDS_MAX; round++)
        e = rollouts_step(o, &changed, info);
    if (e == ERR_OK) /* after the rollouts: they take back what a hold that ran out cancels */
        e = db_transaction(o->db, holds_work, o, info);
    return e == ERR_OK ? hints_give(o, info) : e;
}

static void *run(void *arg)
{
    struct orchestrator *o = arg;
    while (!stopper_stopping(&o->stopper)) {
        struct err_info info = {0};
        enum err e = period(o, &info);
        if (lead_taken(e, &info))
            log_info("follows", "part=%s epoch=%" PRId64, leader_name, o->epoch);
        else if (e != ERR_OK)
            outage_begin(&o->outage, e, &info);
        else
            outage_end(&o->outage);
        if (lead_lost(e, &info))
            o->leading = false; /* to be taken again, with a new epoch */
        stopper_rest(&o->stopper, o->period_ms);
    }
    return NULL;
}

/* ---------------------------------------------------------------- life */

static void orchestrator_free(struct orchestrator *o)
{
    db_free(o->db);
    stopper_clear(&o->stopper);
    free(o);
}

enum err orchestrator_start(const struct conf *conf, orchestrator_hint *hint, void *hint_arg,
                            struct orchestrator **ret_orchestrator, struct err_info *info)
{
    struct orchestrator *o = calloc(1, sizeof *o);
    if (o == NULL)
        return ERR_NO_MEMORY;
    o->period_ms = conf_int(conf, "orchestrator_period_ms");
    o->hint = hint;
    o->hint_arg = hint_arg;
    o->outage.name = "orchestrator";
    o->stuck.name = "a rollout";
    stopper_init(&o->stopper);
    enum err e = db_new(conf_text(conf, "database_url"), "musterd orchestrator",
                        (int)conf_int(conf, "statement_timeout_ms"), &o->db);
    if (e == ERR_OK && pthread_create(&o->thread, NULL, run, o) != 0)
        e = err_set(info, ERR_NO_MEMORY, "the thread of the orchestrator cannot be started");
    if (e != ERR_OK) {
        orchestrator_free(o);
        return e;
    }
    *ret_orchestrator = o;
    return ERR_OK;
}

void orchestrator_stop(struct orchestrator *o)
{
    if (o == NULL)
        return;
    stopper_stop(&o->stopper);
    (void)pthread_join(o->thread, NULL);
    orchestrator_free(o);
}
