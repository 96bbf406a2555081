#include "server/artifact/delta_maker.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/crypt.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "server/artifact/delta_work.h"
#include "server/artifact/object_cache.h"
#include "server/db/db.h"
#include "server/store/delta.h"
#include "server/store/upload.h"
#include "server/thread/outage.h"
#include "server/thread/stopper.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { OWNER_SIZE = 128, WAIT_MS = 200, MIB = 1024 * 1024 };

struct delta_maker {
    const struct conf *conf;
    struct object_cache *cache;
    struct db *db;
    struct delta_policy policy;
    double lease_s;
    char owner[OWNER_SIZE]; /* for people: which process */
    pthread_t thread;
    struct stopper stopper;
    struct outage outage;
};

/* ---------------------------------------------------------------- one delta */

/* A pair that this server has the lease of. */
struct making {
    struct delta_maker *maker;
    const struct rows *rows;
    size_t row;
    struct delta_lease lease;
    char scratch[PATH_MAX];
    int64_t begun_ms;
};

/* An object from the disk cache, kept there while it is read. */
struct source {
    int fd;
    struct object_use *use;
};

static void source_close(struct source *s)
{
    if (s->fd >= 0)
        (void)close(s->fd);
    object_use_end(s->use);
}
#define cleanup_source [[gnu::cleanup(source_close)]]

static enum err source_open(struct delta_maker *m, const char *sha256, struct source *ret_source, struct err_info *info)
{
    struct object_row object = {0};
    enum err e = object_find(m->db, sha256, &object, info);
    return e == ERR_OK ? object_cache_open(m->cache, m->db, sha256, &object, &ret_source->fd, &ret_source->use, info)
                       : e;
}

static bool lease_is_lost(enum err e, const struct err_info *info)
{
    return e == ERR_CONFLICT && text_eq(info->code, "lease_lost");
}

/* Waits for the child, and keeps the lease alive meanwhile. Whatever ends this, the child has ended. A database that is
 * away for a moment is no reason to stop: the fence is in the database. */
static enum err child_follow(struct making *w, struct delta_child *child, int64_t *ret_size, struct err_info *info)
{
    struct delta_maker *m = w->maker;
    int64_t limit_ms = conf_int(m->conf, "delta_timeout_s") * 1000;
    int64_t renewed_ms = clock_mono_ms();
    enum err e = ERR_TIMEOUT;
    while (e == ERR_TIMEOUT) {
        e = delta_child_wait(child, WAIT_MS, ret_size, info);
        int64_t now = clock_mono_ms();
        if (e != ERR_TIMEOUT)
            break;
        if (stopper_stopping(&m->stopper))
            e = err_set(info, ERR_UNAVAILABLE, "this server stops");
        else if (now - w->begun_ms > limit_ms)
            e = err_set(info, ERR_INTERNAL, "it took longer than %" PRId64 " s (delta_timeout_s)", limit_ms / 1000);
        else if ((double)(now - renewed_ms) > m->lease_s * 1000 / 3) {
            enum err renewed = delta_renew(m->db, &w->lease, m->lease_s, info);
            renewed_ms = now;
            if (lease_is_lost(renewed, info))
                e = renewed;
        }
    }
    delta_child_kill(child);
    return e;
}

/* ret_size: of the file `delta` in the scratch folder. */
static enum err delta_build(struct making *w, int64_t *ret_size, struct err_info *info)
{
    struct delta_maker *m = w->maker;
    cleanup_source struct source old = {.fd = -1};
    cleanup_source struct source new = {.fd = -1};
    struct delta_child child;
    enum err e = source_open(m, rows_text(w->rows, w->row, DELTA_FROM_OBJECT), &old, info);
    if (e == ERR_OK)
        e = source_open(m, rows_text(w->rows, w->row, DELTA_TO_OBJECT), &new, info);
    const struct delta_work work = {.old_fd = old.fd,
                                    .new_fd = new.fd,
                                    .scratch = w->scratch,
                                    .effort = conf_text(m->conf, "delta_effort"),
                                    .threads = (int)conf_int(m->conf, "delta_threads"),
                                    .memory_mb = (int)conf_int(m->conf, "delta_memory_mb"),
                                    .trust_dir = conf_text(m->conf, "trust_dir"),
                                    .signatures = (int)conf_int(m->conf, "release_signatures"),
                                    .bundle = rows_text(w->rows, w->row, DELTA_TO)};
    if (e == ERR_OK)
        e = delta_child_start(&work, &child, info);
    return e == ERR_OK ? child_follow(w, &child, ret_size, info) : e;
}

/* Hashes what the child has made and stores it, if it is small enough. */
static enum err delta_store(struct making *w, int64_t size, bool *ret_kept, struct err_info *info)
{
    char path[PATH_MAX + 8];
    char sha256[SHA256_HEX];
    struct delta_result result = {.fd = -1};
    (void)snprintf(path, sizeof path, "%s/delta", w->scratch);
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    enum err e = fd < 0 ? err_set(info, err_from_errno(errno), "%s: %s", path, strerror(errno))
                        : sha256_fd(fd, sha256, &result.size);
    if (e == ERR_OK && result.size != size)
        e = err_set(info, ERR_INTERNAL, "the delta has %" PRId64 " bytes, not %" PRId64, result.size, size);
    if (e != ERR_OK)
        return e;
    *ret_kept = delta_size_kept(result.size, rows_i64(w->rows, w->row, DELTA_FULL_SIZE));
    result.fd = fd;
    result.sha256 = *ret_kept ? sha256 : NULL;
    return delta_finish(w->maker->db, &w->lease, &result, info);
}

static enum err scratch_make(struct making *w, struct err_info *info)
{
    int n = snprintf(w->scratch, sizeof w->scratch, "%s/parts/delta-%" PRId64 "-%" PRId64,
                     conf_text(w->maker->conf, "cache_dir"), w->lease.id, w->lease.epoch);
    if (n < 0 || (size_t)n >= sizeof w->scratch)
        return err_set(info, ERR_INVALID, "cache_dir is too long");
    enum err e = file_remove_tree(w->scratch);
    if (e == ERR_OK && mkdir(w->scratch, 0700) != 0)
        e = err_set(info, err_from_errno(errno), "%.200s: %s", w->scratch, strerror(errno));
    return e;
}

/* What went wrong is written down; a lease that is over is nobody's failure. Errors of the database are the caller's.
 */
static enum err failure_note(struct making *w, enum err e, struct err_info *info)
{
    struct delta_maker *m = w->maker;
    struct err_info why = *info;
    if (lease_is_lost(e, info)) {
        log_warn("delta_lease_lost", "id=%" PRId64 " epoch=%" PRId64, w->lease.id, w->lease.epoch);
        return ERR_OK;
    }
    *info = (struct err_info){.offset = -1};
    if (stopper_stopping(&m->stopper))
        return delta_release(m->db, &w->lease, info);
    log_warn("delta_failed", "id=%" PRId64 " tries=%" PRId64 " error=%s text=\"%s\"", w->lease.id, w->lease.tries,
             err_name(e), why.text);
    return delta_fail(m->db, &w->lease, why.text[0] != '\0' ? why.text : err_name(e), info);
}

static enum err delta_make(struct making *w, struct err_info *info)
{
    const struct rows *rows = w->rows;
    int64_t size = 0;
    bool kept = false;
    w->begun_ms = clock_mono_ms();
    log_info("delta_begins", "id=%" PRId64 " slot=%s from=%s to=%s try=%" PRId64, w->lease.id,
             rows_text(rows, w->row, DELTA_SLOT), rows_text(rows, w->row, DELTA_FROM_VERSION),
             rows_text(rows, w->row, DELTA_TO_VERSION), w->lease.tries);
    enum err e = scratch_make(w, info);
    if (e == ERR_OK)
        e = delta_build(w, &size, info);
    if (e == ERR_OK)
        e = delta_store(w, size, &kept, info);
    if (e == ERR_OK)
        log_info("delta_made", "id=%" PRId64 " size=%" PRId64 " full=%s kept=%d ms=%" PRId64, w->lease.id, size,
                 rows_text(rows, w->row, DELTA_FULL_SIZE), (int)kept, clock_mono_ms() - w->begun_ms);
    else
        e = failure_note(w, e, info);
    if (file_remove_tree(w->scratch) != ERR_OK)
        log_warn("delta_scratch_kept", "path=%s", w->scratch);
    return e;
}

/* ---------------------------------------------------------------- which one */

/* Takes the most urgent pair that nobody else has, and makes it. ret_made: there was one. */
static enum err best_make(struct delta_maker *m, const struct rows *rows, const struct delta_pair *pairs, size_t count,
                          bool *ret_made, struct err_info *info)
{
    enum err e = ERR_OK;
    bool taken = false;
    for (size_t i = 0; e == ERR_OK && !taken && i < count && !stopper_stopping(&m->stopper); i++) {
        if (!delta_pair_wanted(&pairs[i]))
            continue;
        struct making w = {.maker = m, .rows = rows, .row = pairs[i].row};
        e = delta_claim(m->db, rows_text(rows, w.row, DELTA_FROM), rows_text(rows, w.row, DELTA_TO), m->owner,
                        m->lease_s, &taken, &w.lease, info);
        if (e == ERR_OK && taken)
            e = delta_make(&w, info);
    }
    *ret_made = taken;
    return e;
}

static enum err look(struct delta_maker *m, bool *ret_made, struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    const struct delta_search search = {.question = DELTAS_TO_MAKE};
    enum err e = delta_pairs_read(m->db, &search, &rows, info);
    size_t count = e == ERR_OK ? rows_count(rows) : 0;
    cleanup_free struct delta_pair *pairs = calloc(count + 1, sizeof *pairs);
    if (e != ERR_OK || pairs == NULL)
        return e != ERR_OK ? e : ERR_NO_MEMORY;
    for (size_t i = 0; i < count; i++)
        delta_pair_take(rows, i, &m->policy, &pairs[i]);
    delta_pairs_sort(pairs, count);
    return best_make(m, rows, pairs, count, ret_made, info);
}

static enum err period(struct delta_maker *m, bool *ret_made, struct err_info *info)
{
    int64_t expired = 0;
    struct err_info why = {.offset = -1};
    enum err expiry = upload_expire(m->db, &expired, &why);
    if (expiry == ERR_OK && expired > 0)
        log_info("uploads_expired", "count=%" PRId64, expired);
    enum err e = conf_bool(m->conf, "delta_make") ? delta_give_up(m->db, info) : ERR_OK;
    if (e == ERR_OK && conf_bool(m->conf, "delta_make"))
        e = look(m, ret_made, info);
    if (e == ERR_OK && expiry != ERR_OK) /* one does not keep the other from working */
        *info = why;
    return e == ERR_OK ? expiry : e;
}

static void *run(void *arg)
{
    struct delta_maker *m = arg;
    while (!stopper_stopping(&m->stopper)) {
        struct err_info info = {.offset = -1};
        bool made = false;
        enum err e = period(m, &made, &info);
        if (e != ERR_OK)
            outage_begin(&m->outage, e, &info);
        else
            outage_end(&m->outage);
        if (e != ERR_OK || !made)
            stopper_rest(&m->stopper, conf_int(m->conf, "delta_period_ms"));
    }
    return NULL;
}

/* ---------------------------------------------------------------- life */

static void maker_free(struct delta_maker *m)
{
    db_free(m->db);
    stopper_clear(&m->stopper);
    free(m);
}

enum err delta_maker_start(const struct conf *conf, struct object_cache *cache, struct delta_maker **ret_maker,
                           struct err_info *info)
{
    char host[64] = "";
    struct delta_maker *m = calloc(1, sizeof *m);
    if (m == NULL)
        return ERR_NO_MEMORY;
    (void)gethostname(host, sizeof host - 1);
    (void)snprintf(m->owner, sizeof m->owner, "%s:%d", host, (int)getpid());
    m->conf = conf;
    m->cache = cache;
    m->policy.saved_min = conf_int(conf, "delta_saving_mb") * MIB;
    m->lease_s = conf_number(conf, "delta_lease_s");
    m->outage.name = "delta maker";
    stopper_init(&m->stopper);
    enum err e =
        db_new(conf_text(conf, "database_url"), "musterd deltas", (int)conf_int(conf, "statement_timeout_ms"), &m->db);
    if (e == ERR_OK && pthread_create(&m->thread, NULL, run, m) != 0)
        e = err_set(info, ERR_NO_MEMORY, "the thread of the delta maker cannot be started");
    if (e != ERR_OK) {
        maker_free(m);
        return e;
    }
    *ret_maker = m;
    return ERR_OK;
}

void delta_maker_stop(struct delta_maker *m)
{
    if (m == NULL)
        return;
    stopper_stop(&m->stopper);
    (void)pthread_join(m->thread, NULL);
    maker_free(m);
}
