#include "server/serve.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/version.h"
#include "common/bundle/trust.h"
#include "server/admin.h"
#include "server/alert/engine.h"
#include "server/artifact/checker.h"
#include "server/artifact/delta_maker.h"
#include "server/artifact/object_cache.h"
#include "server/http/broadcast.h"
#include "server/http/http.h"
#include "server/http/limiter.h"
#include "server/http/password.h"
#include "server/migrate.h"
#include "server/mqtt/ingest.h"
#include "server/mqtt/link.h"
#include "server/mqtt/publisher.h"
#include "server/pki/pki.h"
#include "server/rollout/orchestrator.h"
#include "server/server.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { DATABASE_WAIT_S = 30, LIMITER_KEYS = 4096, SPARE_FILES = 256, MIB = 1024 * 1024 };

/* Everything that was started; NULL: not (yet). */
struct parts {
    struct server server;
    struct mqtt_link *mqtt;
    struct http *http;
    struct ingest *ingest;
    struct publisher *publisher;
    struct orchestrator *orchestrator;
    struct alert_engine *alerts;
    struct delta_maker *deltas;
};

/* ---- signals: blocked in every thread, taken by the main one */

static void signals_block(sigset_t *ret_set)
{
    (void)sigemptyset(ret_set);
    (void)sigaddset(ret_set, SIGTERM);
    (void)sigaddset(ret_set, SIGINT);
    (void)sigaddset(ret_set, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, ret_set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
}

/* Waits up to a second; true when we are asked to stop. */
static bool stop_asked(const sigset_t *signals)
{
    const struct timespec second = {.tv_sec = 1};
    return sigtimedwait(signals, NULL, &second) > 0;
}

/* ---- what must be there before the first thread */

/* ret_stop: a signal came while waiting. */
static enum err database_wait(struct db *db, const sigset_t *signals, bool *ret_stop, struct err_info *info)
{
    for (int i = 0;; i++) {
        enum err e = db_connect(db, info);
        if (e != ERR_UNAVAILABLE)
            return e;
        if (i == 0)
            log_warn("database_awaited", "seconds=%d text=\"%s\"", DATABASE_WAIT_S, info->text);
        if (i == DATABASE_WAIT_S) {
            err_next(info, "check database_url, and that PostgreSQL runs and lets this user in");
            return e;
        }
        *ret_stop = stop_asked(signals);
        if (*ret_stop)
            return ERR_OK;
    }
}

static enum err first_account(struct db *db, const struct conf *conf, struct err_info *info)
{
    const char *url = conf_text(conf, "public_url");
    char password[PASSWORD_ONE_TIME_SIZE] = "";
    enum err e = admin_first_account(db, password, info);
    if (e == ERR_OK && password[0] != '\0') {
        printf("First start: log in%s%s as admin with this one-time password: %s\n", *url != '\0' ? " at " : "", url,
               password);
        (void)fflush(stdout);
        log_info("first_account", "name=admin");
    }
    explicit_bzero(password, sizeof password);
    return e;
}

/* Schema and first account, with a connection that has no statement timeout. */
static enum err database_prepare(const struct conf *conf, const sigset_t *signals, bool *ret_stop,
                                 struct err_info *info)
{
    cleanup_db struct db *db = NULL;
    int count = 0;
    enum err e = db_new(conf_text(conf, "database_url"), "musterd start", 0, &db);
    if (e == ERR_OK)
        e = database_wait(db, signals, ret_stop, info);
    if (e != ERR_OK || *ret_stop)
        return e;
    e = migrate_run(db, conf_text(conf, "migrations_dir"), NULL, &count, info);
    if (e != ERR_OK)
        return e;
    log_info("schema_ready", "applied=%d", count);
    return first_account(db, conf, info);
}

/* Every connection is a file: twice http_connections, and some. */
static void files_allow(const struct conf *conf)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)(2 * conf_int(conf, "http_connections") + SPARE_FILES);
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < wanted)
        log_warn("few_files", "allowed=%ju wanted=%ju: raise LimitNOFILE, or lower http_connections",
                 (uintmax_t)limit.rlim_cur, (uintmax_t)wanted);
}

/* ---- the parts */

/* A threshold that no bundle can reach would refuse every upload: that is said now. */
static enum err trust_start(const struct conf *conf, struct trust **ret_trust, struct err_info *info)
{
    cleanup_trust struct trust *trust = NULL;
    const char *dir = conf_text(conf, "trust_dir");
    enum err e = trust_load(dir, &trust, info);
    if (e != ERR_OK)
        return e;
    trust->required = (size_t)conf_int(conf, "release_signatures");
    if (trust->required > trust->count) {
        e = err_field(info, ERR_INVALID, "release_signatures",
                      "release_signatures = %zu, but %s has only %zu release key%s", trust->required, dir, trust->count,
                      trust->count == 1 ? "" : "s");
        err_next(info, "put the missing *.pub files there, or lower release_signatures");
        return e;
    }
    *ret_trust = trust;
    trust = NULL;
    return ERR_OK;
}

static enum err resources_load(struct parts *p, const struct conf *conf, struct err_info *info)
{
    struct server *server = &p->server;
    enum err e = pki_load(conf_text(conf, "pki_dir"), &server->pki, info);
    if (e == ERR_OK)
        e = trust_start(conf, &server->trust, info);
    if (e == ERR_OK)
        e = object_cache_new(conf_text(conf, "cache_dir"), conf_int(conf, "cache_mb") * MIB, &server->objects, info);
    if (e == ERR_OK)
        e = checkers_new(&server->checkers);
    if (e == ERR_OK)
        e = passwords_new(&server->passwords);
    if (e == ERR_OK)
        e = limiter_new(conf_int(conf, "login_per_minute"), LIMITER_KEYS, &server->login_limiter);
    return e == ERR_OK ? limiter_new(conf_int(conf, "enrol_per_minute"), LIMITER_KEYS, &server->enrol_limiter) : e;
}

static void desired_hint(void *link, const char *device_id)
{
    mqtt_link_publish_desired(link, device_id);
}

static int64_t link_since_ms(void *link)
{
    return mqtt_link_connected_since_ms(link);
}

static enum err mqtt_start(struct parts *p, const struct conf *conf, struct err_info *info)
{
    const char *database_url = conf_text(conf, "database_url");
    int timeout_ms = (int)conf_int(conf, "statement_timeout_ms");
    const struct mqtt_link_settings link = {
        .host = conf_text(conf, "broker_host"),
        .port = (int)conf_int(conf, "broker_port"),
        .pki_dir = conf_text(conf, "pki_dir"),
        .share = pki_share_name(p->server.pki),
        .inbox_parts = (int)conf_int(conf, "ingest_writers"),
    };
    enum err e = mqtt_link_start(&link, &p->mqtt, info);
    if (e != ERR_OK)
        return e;
    p->server.broker = (struct server_broker){.link = p->mqtt, .since_ms = link_since_ms, .hint = desired_hint};
    const struct ingest_settings ingest = {.database_url = database_url,
                                           .statement_timeout_ms = timeout_ms,
                                           .beat_s = conf_number(conf, "beat_s"),
                                           .link = p->mqtt};
    e = ingest_start(&ingest, &p->ingest, info);
    if (e != ERR_OK)
        return e;
    const struct publisher_settings publisher = {.database_url = database_url,
                                                 .statement_timeout_ms = timeout_ms,
                                                 .beat_s = conf_number(conf, "beat_s"),
                                                 .link = p->mqtt};
    return publisher_start(&publisher, &p->publisher, info);
}

static enum err engines_start(struct parts *p, const struct conf *conf, struct err_info *info)
{
    const struct alert_engine_settings alerts = {
        .database_url = conf_text(conf, "database_url"),
        .statement_timeout_ms = (int)conf_int(conf, "statement_timeout_ms"),
        .period_ms = conf_int(conf, "alert_period_ms"),
        .link_since_ms = link_since_ms,
        .link = p->mqtt,
    };
    enum err e = orchestrator_start(conf, desired_hint, p->mqtt, &p->orchestrator, info);
    if (e == ERR_OK)
        e = alert_engine_start(&alerts, &p->alerts, info);
    return e == ERR_OK ? delta_maker_start(conf, p->server.objects, &p->deltas, info) : e;
}

static enum err http_parts_start(struct parts *p, const struct conf *conf, struct err_info *info)
{
    const struct broadcast_settings broadcast = {
        .database_url = conf_text(conf, "database_url"),
        .statement_timeout_ms = (int)conf_int(conf, "statement_timeout_ms"),
        .session_limits = {.idle_s = conf_int(conf, "session_idle_s"), .max_s = conf_int(conf, "session_max_s")},
    };
    enum err e = broadcast_start(&broadcast, &p->server.broadcast, info);
    return e == ERR_OK ? http_start(&p->server, &p->http, info) : e;
}

static enum err parts_start(struct parts *p, const struct conf *conf, struct err_info *info)
{
    enum err e = resources_load(p, conf, info);
    if (e == ERR_OK)
        e = mqtt_start(p, conf, info);
    if (e == ERR_OK)
        e = engines_start(p, conf, info);
    return e == ERR_OK ? http_parts_start(p, conf, info) : e;
}

static void parts_stop(struct parts *p)
{
    http_stop(p->http);
    broadcast_stop(p->server.broadcast); /* when HTTP was never started */
    delta_maker_stop(p->deltas);
    alert_engine_stop(p->alerts);
    orchestrator_stop(p->orchestrator);
    publisher_stop(p->publisher);
    ingest_stop(p->ingest);
    mqtt_link_stop(p->mqtt);
    broadcast_free(p->server.broadcast);
    limiter_free(p->server.enrol_limiter);
    limiter_free(p->server.login_limiter);
    passwords_free(p->server.passwords);
    object_cache_free(p->server.objects);
    checkers_free(p->server.checkers); /* before the trust that they use */
    (void)trust_free(p->server.trust);
    pki_free(p->server.pki);
}

enum err serve(const struct conf *conf, struct err_info *info)
{
    sigset_t signals;
    bool stop = false;
    struct parts parts = {.server = {.conf = conf}};
    signals_block(&signals);
    files_allow(conf);
    enum err e = database_prepare(conf, &signals, &stop, info);
    if (e != ERR_OK || stop)
        return e;
    e = parts_start(&parts, conf, info);
    if (e == ERR_OK) {
        log_info("started", "version=%s", MUSTER_VERSION);
        int number = 0;
        (void)sigwait(&signals, &number);
        log_info("stopping", "signal=%d", number);
    }
    int64_t begin = clock_mono_ms();
    parts_stop(&parts);
    if (e == ERR_OK)
        log_info("stopped", "ms=%" PRId64, clock_mono_ms() - begin);
    return e;
}
