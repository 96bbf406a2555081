#include "server/alert/engine.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "server/core/alert.h"
#include "server/store/alert.h"
#include "server/thread/outage.h"
#include "server/thread/stopper.h"

#include <pthread.h>

enum { LATE_MS = 5000 }; /* a look that comes so much later than its period is a break in watching */

struct alert_engine {
    struct alert_engine_settings settings;
    struct db *db;
    pthread_t thread;
    struct stopper stopper;
    struct outage outage;
    struct alert_watch watch; /* only the thread */
};

/* What one transaction needs and finds. */
struct pass {
    int64_t heard_ms;
    size_t told;
};

static enum err looks_decide(struct db *db, struct pass *pass, const struct alert_look *looks, size_t count,
                             struct err_info *info)
{
    cleanup_free struct alert_change *changes = calloc(count + 1, sizeof *changes);
    if (changes == NULL)
        return ERR_NO_MEMORY;
    size_t changed = 0;
    for (size_t i = 0; i < count; i++) {
        struct alert_finding finding;
        enum alert_state to = alert_decide(&looks[i].rule, &looks[i].fact, pass->heard_ms, &finding);
        if (to != looks[i].fact.state)
            changes[changed++] = (struct alert_change){.look = &looks[i], .to = to, .finding = finding};
    }
    return alert_apply(db, changes, changed, &pass->told, info);
}

/* Any server may look; the lock only keeps two from looking at once. Each write is bound to the state it comes from, so
 * that nothing more is needed to have every transition once. */
static enum err pass_work(struct db *db, void *arg, struct err_info *info)
{
    cleanup_free struct alert_look *looks = NULL;
    size_t count = 0;
    bool held = false;
    enum err e = alert_lock(db, &held, info);
    if (e != ERR_OK || !held)
        return e;
    e = alert_looks(db, &looks, &count, info);
    return e == ERR_OK ? looks_decide(db, arg, looks, count, info) : e;
}

static void engine_look(struct alert_engine *engine)
{
    const struct alert_engine_settings *s = &engine->settings;
    struct pass pass = {.heard_ms = alert_watch_look(&engine->watch, clock_mono_ms(), s->link_since_ms(s->link),
                                                     s->period_ms + LATE_MS)};
    if (pass.heard_ms < 0)
        return;
    struct err_info info = {0};
    enum err e = db_transaction(engine->db, pass_work, &pass, &info);
    if (e != ERR_OK) {
        alert_watch_break(&engine->watch);
        outage_begin(&engine->outage, e, &info);
        return;
    }
    outage_end(&engine->outage);
    if (pass.told > 0)
        log_info("alerts", "changed=%zu", pass.told);
}

static void *engine_run(void *arg)
{
    struct alert_engine *engine = arg;
    while (!stopper_stopping(&engine->stopper)) {
        engine_look(engine);
        stopper_rest(&engine->stopper, engine->settings.period_ms);
    }
    return NULL;
}

static void engine_free(struct alert_engine *engine)
{
    db_free(engine->db);
    stopper_clear(&engine->stopper);
    free(engine);
}

enum err alert_engine_start(const struct alert_engine_settings *settings, struct alert_engine **ret_engine,
                            struct err_info *info)
{
    struct alert_engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL)
        return ERR_NO_MEMORY;
    engine->settings = *settings;
    engine->settings.database_url = NULL; /* the connection has its own copy */
    engine->outage.name = "alerts";
    stopper_init(&engine->stopper);
    enum err e = db_new(settings->database_url, "musterd alerts", settings->statement_timeout_ms, &engine->db);
    if (e == ERR_OK && pthread_create(&engine->thread, NULL, engine_run, engine) != 0)
        e = err_set(info, ERR_NO_MEMORY, "the thread of the alert engine cannot be started");
    if (e != ERR_OK) {
        engine_free(engine);
        return e;
    }
    *ret_engine = engine;
    return ERR_OK;
}

void alert_engine_stop(struct alert_engine *engine)
{
    if (engine == NULL)
        return;
    stopper_stop(&engine->stopper);
    (void)pthread_join(engine->thread, NULL);
    engine_free(engine);
}
