#include "server/store/delta.h"

#include "common/base/cleanup.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "server/store/event.h"
#include "server/store/object.h"
#include "server/store/records.h"

#include <inttypes.h>
#include <string.h>

/* ---- pairs */

/* What devices run, counted. */
#define RUNNING_SQL                                                                                                    \
    "running AS (SELECT s.slot, s.running, count(*) AS devices FROM device_slot s JOIN device d ON d.id = s.device_id" \
    "   WHERE d.retired_at IS NULL AND s.running IS NOT NULL GROUP BY 1, 2),"                                          \
    " rolling AS (SELECT s.running AS from_bundle, r.bundle_id AS to_bundle, count(*) AS devices FROM rollout r"       \
    "   JOIN assignment a ON a.rollout_id = r.id AND a.state IN ('waiting', 'offered', 'downloading')"                 \
    "   JOIN device_slot s ON s.device_id = a.device_id AND s.slot = r.slot AND s.running <> r.bundle_id"              \
    "   WHERE r.state IN ('running', 'paused') GROUP BY 1, 2),"

/* The newest bundle of a slot is what its devices will want next. */
#define TO_MAKE_SQL                                                                                                    \
    " newest AS (SELECT DISTINCT ON (slot) slot, id FROM bundle"                                                       \
    "   ORDER BY slot, release_counter DESC, created_at DESC),"                                                        \
    " pair AS (SELECT from_bundle, to_bundle, max(devices) AS devices FROM ("                                          \
    "     SELECT from_bundle, to_bundle, devices FROM rolling"                                                         \
    "     UNION ALL SELECT u.running, n.id, u.devices FROM running u JOIN newest n ON n.slot = u.slot"                 \
    "       AND n.id <> u.running"                                                                                     \
    "     UNION ALL SELECT from_bundle, to_bundle, 0 FROM delta WHERE asked_by IS NOT NULL"                            \
    "       AND state IN ('wanted', 'making')) x GROUP BY 1, 2)"

#define OF_BUNDLE_SQL                                                                                                  \
    " pair AS (SELECT from_bundle, to_bundle, max(devices) AS devices FROM ("                                          \
    "     SELECT u.running AS from_bundle, b.id AS to_bundle, u.devices FROM bundle b JOIN running u"                  \
    "       ON u.slot = b.slot AND u.running <> b.id WHERE b.id = $1::text"                                            \
    "     UNION ALL SELECT from_bundle, to_bundle, 0 FROM delta WHERE to_bundle = $1::text) x GROUP BY 1, 2)"

#define MADE_SQL                                                                                                       \
    " pair AS (SELECT d.from_bundle, d.to_bundle, coalesce(u.devices, 0) AS devices FROM delta d"                      \
    "   LEFT JOIN (SELECT running, sum(devices)::bigint AS devices FROM running GROUP BY 1) u"                         \
    "     ON u.running = d.from_bundle"                                                                                \
    "   WHERE $2::bigint = 0 OR d.id < $2::bigint ORDER BY d.id DESC LIMIT $1::bigint)"

/* In the order of enum delta_column. A pair whose old bundle this server has never seen is none. */
#define PAIRS_SQL                                                                                                      \
    " SELECT p.from_bundle, p.to_bundle, p.devices, r.to_bundle IS NOT NULL, coalesce(x.state, 'none'),"               \
    " CASE x.state WHEN 'wanted' THEN x.not_before <= now() WHEN 'making' THEN x.lease_until < now()"                  \
    "   ELSE x.state IS NULL END, ms(t.created_at), o.size, x.size,"                                                   \
    " (SELECT avg(y.size::float8 / y.full_size) FROM delta y JOIN bundle z ON z.id = y.to_bundle"                      \
    "   WHERE z.slot = t.slot AND y.size IS NOT NULL),"                                                                \
    " t.slot, f.version, t.version, f.object_sha256, t.object_sha256, x.asked_by,"                                     \
    " CASE WHEN x.id IS NOT NULL THEN jsonb_build_object('id', x.id::text, 'object_sha256', x.object_sha256,"          \
    "   'tries', x.tries, 'error', x.error, 'made_by', x.lease_owner, 'created_at', ms(x.created_at),"                 \
    "   'started_at', ms(x.started_at), 'finished_at', ms(x.finished_at)) END"                                         \
    " FROM pair p JOIN bundle f ON f.id = p.from_bundle JOIN bundle t ON t.id = p.to_bundle AND t.slot = f.slot"       \
    " JOIN object o ON o.sha256 = t.object_sha256"                                                                     \
    " LEFT JOIN rolling r ON r.from_bundle = p.from_bundle AND r.to_bundle = p.to_bundle"                              \
    " LEFT JOIN delta x ON x.from_bundle = p.from_bundle AND x.to_bundle = p.to_bundle"                                \
    " ORDER BY x.id DESC NULLS FIRST, p.devices DESC, p.from_bundle"

enum err delta_pairs_read(struct db *db, const struct delta_search *search, struct rows **ret_rows,
                          struct err_info *info)
{
    switch (search->question) {
    case DELTAS_OF_BUNDLE:
        return db_query(db, "WITH " RUNNING_SQL OF_BUNDLE_SQL PAIRS_SQL, DB_ARGS(db_text(search->bundle)), ret_rows,
                        info);
    case DELTAS_MADE:
        return db_query(db, "WITH " RUNNING_SQL MADE_SQL PAIRS_SQL,
                        DB_ARGS(db_i64(search->limit), db_i64(search->before)), ret_rows, info);
    case DELTAS_TO_MAKE:
        break;
    }
    return db_query(db, "WITH " RUNNING_SQL TO_MAKE_SQL PAIRS_SQL, DB_NO_ARGS, ret_rows, info);
}

void delta_pair_take(const struct rows *rows, size_t i, const struct delta_policy *policy, struct delta_pair *ret_pair)
{
    struct delta_pair pair = {
        .devices = rows_i64(rows, i, DELTA_DEVICES),
        .active = rows_flag(rows, i, DELTA_ACTIVE),
        .asked = !rows_null(rows, i, DELTA_ASKED_BY),
        .due = rows_flag(rows, i, DELTA_DUE),
        .newness = rows_i64(rows, i, DELTA_NEWNESS),
        .full_size = rows_i64(rows, i, DELTA_FULL_SIZE),
        .size = rows_null(rows, i, DELTA_SIZE) ? -1 : rows_i64(rows, i, DELTA_SIZE),
        .ratio = rows_null(rows, i, DELTA_RATIO) ? -1 : rows_f64(rows, i, DELTA_RATIO),
        .row = i,
    };
    (void)delta_state_parse(rows_text(rows, i, DELTA_STATE), &pair.state);
    delta_pair_judge(&pair, policy);
    *ret_pair = pair;
}

static json_t *text_or_null(const struct rows *rows, size_t i, int column)
{
    return rows_null(rows, i, column) ? json_null() : json_string(rows_text(rows, i, column));
}

static enum err pair_add(const struct rows *rows, size_t i, const struct delta_policy *policy, json_t *deltas)
{
    struct delta_pair pair;
    json_auto_t *details = NULL;
    enum err e = ERR_OK;
    delta_pair_take(rows, i, policy, &pair);
    json_auto_t *json =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:b, s:s, s:o, s:o, s:o, s:o, s:b, s:o}", "slot",
                  rows_text(rows, i, DELTA_SLOT), "from", rows_text(rows, i, DELTA_FROM), "from_version",
                  rows_text(rows, i, DELTA_FROM_VERSION), "to", rows_text(rows, i, DELTA_TO), "to_version",
                  rows_text(rows, i, DELTA_TO_VERSION), "devices", json_integer(pair.devices), "active",
                  (int)pair.active, "state", delta_state_name(pair.state), "full_size", json_id(pair.full_size), "size",
                  pair.size < 0 ? json_null() : json_id(pair.size), "expected", json_id(pair.expected), "saved",
                  json_id(pair.saved), "worth", (int)pair.worth, "asked_by", text_or_null(rows, i, DELTA_ASKED_BY));
    if (!rows_null(rows, i, DELTA_DETAILS_)) {
        const char *text = rows_text(rows, i, DELTA_DETAILS_);
        e = json_parse(text, strlen(text), JSON_BYTES_MAX, &details, NULL);
    }
    if (e == ERR_OK && details != NULL && json_object_update(json, details) != 0)
        e = ERR_NO_MEMORY;
    return e == ERR_OK ? records_add(deltas, json_incref(json)) : e;
}

enum err delta_show(struct db *db, const struct delta_search *search, const struct delta_policy *policy,
                    char **ret_json, struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    json_auto_t *deltas = json_array();
    enum err e = delta_pairs_read(db, search, &rows, info);
    for (size_t i = 0; e == ERR_OK && i < rows_count(rows); i++)
        e = pair_add(rows, i, policy, deltas);
    if (e != ERR_OK)
        return e;
    json_auto_t *json = json_pack("{s:O}", "deltas", deltas);
    return json_print(json, ret_json, NULL);
}

enum err delta_ask(struct db *db, const char *from, const char *to, const char *actor, struct err_info *info)
{
    int64_t changed = 0;
    if (text_eq(from, to))
        return err_field(info, ERR_INVALID, "from", "a bundle needs no delta from itself");
    enum err e =
        db_exec(db,
                "INSERT INTO delta (from_bundle, to_bundle, state, asked_by, full_size)"
                " SELECT f.id, t.id, 'wanted', $3::text, o.size FROM bundle f JOIN bundle t ON t.slot = f.slot"
                " JOIN object o ON o.sha256 = t.object_sha256 WHERE f.id = $1::text AND t.id = $2::text"
                " ON CONFLICT (from_bundle, to_bundle) DO UPDATE SET asked_by = excluded.asked_by, not_before = now(),"
                "   tries = CASE WHEN delta.state IN ('making', 'ready') THEN delta.tries ELSE 0 END,"
                "   state = CASE WHEN delta.state IN ('making', 'ready') THEN delta.state ELSE 'wanted' END",
                DB_ARGS(db_text(from), db_text(to), db_text(actor)), &changed, info);
    if (e != ERR_OK || changed == 1)
        return e;
    return err_code(info, ERR_INVALID, "bundle_slots_differ", "the two bundles are of different slots");
}

/* ---- making one */

enum err delta_claim(struct db *db, const char *from, const char *to, const char *owner, double lease_s,
                     bool *ret_taken, struct delta_lease *ret_lease, struct err_info *info)
{
    static const char sql[] =
        "INSERT INTO delta (from_bundle, to_bundle, state, full_size, lease_owner, lease_epoch, lease_until, tries,"
        "   started_at)"
        " SELECT f.id, t.id, 'making', o.size, $3::text, 1, now() + make_interval(secs => $4::float8), 1, now()"
        " FROM bundle f JOIN bundle t ON t.slot = f.slot AND t.id <> f.id JOIN object o ON o.sha256 = t.object_sha256"
        " WHERE f.id = $1::text AND t.id = $2::text"
        " ON CONFLICT (from_bundle, to_bundle) DO UPDATE SET state = 'making', lease_owner = excluded.lease_owner,"
        "   lease_epoch = delta.lease_epoch + 1, lease_until = excluded.lease_until, tries = delta.tries + 1,"
        "   started_at = now(), finished_at = NULL"
        " WHERE (delta.state = 'wanted' AND delta.not_before <= now())"
        "    OR (delta.state = 'making' AND delta.lease_until < now() AND delta.tries < $5::integer)"
        " RETURNING id, lease_epoch, tries";
    cleanup_rows struct rows *rows = NULL;
    enum err e =
        db_query(db, sql, DB_ARGS(db_text(from), db_text(to), db_text(owner), db_f64(lease_s), db_i64(DELTA_TRIES_MAX)),
                 &rows, info);
    if (e != ERR_OK)
        return e;
    *ret_taken = rows_count(rows) == 1;
    if (*ret_taken)
        *ret_lease = (struct delta_lease){
            .id = rows_i64(rows, 0, 0), .epoch = rows_i64(rows, 0, 1), .tries = rows_i64(rows, 0, 2)};
    return ERR_OK;
}

/* What every write of a lease's holder ends with. */
#define OURS_SQL " WHERE id = $1::bigint AND lease_epoch = $2::bigint AND state = 'making'"

static enum err lease_lost(const struct delta_lease *lease, struct err_info *info)
{
    return err_code(info, ERR_CONFLICT, "lease_lost", "delta %" PRId64 ": epoch %" PRId64 " is over", lease->id,
                    lease->epoch);
}

static enum err ours_write(struct db *db, const char *sql, const struct db_arg *args, size_t count,
                           const struct delta_lease *lease, struct err_info *info)
{
    int64_t changed = 0;
    enum err e = db_exec(db, sql, args, count, &changed, info);
    return e == ERR_OK && changed != 1 ? lease_lost(lease, info) : e;
}

enum err delta_renew(struct db *db, const struct delta_lease *lease, double lease_s, struct err_info *info)
{
    return ours_write(db, "UPDATE delta SET lease_until = now() + make_interval(secs => $3::float8)" OURS_SQL,
                      DB_ARGS(db_i64(lease->id), db_i64(lease->epoch), db_f64(lease_s)), lease, info);
}

struct finishing {
    const struct delta_lease *lease;
    const struct delta_result *result;
};

/* An event that says which pair, so that the console looks again. */
static enum err delta_tell(struct db *db, const struct delta_lease *lease, const char *kind, struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    enum err e = db_query(db,
                          "SELECT t.slot, f.version, t.version, d.size::text, d.full_size::text, d.error FROM delta d"
                          " JOIN bundle f ON f.id = d.from_bundle JOIN bundle t ON t.id = d.to_bundle"
                          " WHERE d.id = $1::bigint",
                          DB_ARGS(db_i64(lease->id)), &rows, info);
    if (e != ERR_OK || rows_count(rows) != 1)
        return e;
    json_auto_t *data = json_pack("{s:s, s:s, s:s, s:o, s:o, s:o}", "slot", rows_text(rows, 0, 0), "from",
                                  rows_text(rows, 0, 1), "to", rows_text(rows, 0, 2), "size", text_or_null(rows, 0, 3),
                                  "full_size", text_or_null(rows, 0, 4), "error", text_or_null(rows, 0, 5));
    return data == NULL ? ERR_NO_MEMORY
                        : event_add(db, &(struct event_entry){.kind = kind, .actor = "system", .data = data}, info);
}

/* The row is locked first: until the end of the transaction the lease cannot change hands. */
static enum err finish_work(struct db *db, void *arg, struct err_info *info)
{
    const struct finishing *f = arg;
    const struct delta_result *r = f->result;
    cleanup_rows struct rows *ours = NULL;
    enum err e = db_query(db, "SELECT FROM delta" OURS_SQL " FOR UPDATE",
                          DB_ARGS(db_i64(f->lease->id), db_i64(f->lease->epoch)), &ours, info);
    if (e == ERR_OK && rows_count(ours) != 1)
        e = lease_lost(f->lease, info);
    if (e == ERR_OK && r->sha256 != NULL)
        e = object_add(db, r->sha256, r->fd, r->size, info);
    if (e == ERR_OK)
        e = ours_write(db,
                       "UPDATE delta SET state = CASE WHEN $3::text IS NULL THEN 'not_worth_it' ELSE 'ready' END,"
                       " object_sha256 = $3::text, size = $4::bigint, error = NULL, finished_at = now()" OURS_SQL,
                       DB_ARGS(db_i64(f->lease->id), db_i64(f->lease->epoch), db_text(r->sha256), db_i64(r->size)),
                       f->lease, info);
    return e == ERR_OK ? delta_tell(db, f->lease, r->sha256 == NULL ? "delta.not_worth_it" : "delta.ready", info) : e;
}

enum err delta_finish(struct db *db, const struct delta_lease *lease, const struct delta_result *result,
                      struct err_info *info)
{
    struct finishing f = {.lease = lease, .result = result};
    return db_transaction(db, finish_work, &f, info);
}

struct failing {
    const struct delta_lease *lease;
    const char *why;
};

static enum err fail_work(struct db *db, void *arg, struct err_info *info)
{
    const struct failing *f = arg;
    bool last = f->lease->tries >= DELTA_TRIES_MAX;
    enum err e =
        ours_write(db,
                   "UPDATE delta SET state = CASE WHEN $3::boolean THEN 'failed' ELSE 'wanted' END, error = $4::text,"
                   " not_before = now() + make_interval(secs => $5::float8), finished_at = now()" OURS_SQL,
                   DB_ARGS(db_i64(f->lease->id), db_i64(f->lease->epoch), db_flag(last), db_text(f->why),
                           db_f64((double)delta_retry_ms(f->lease->tries) / 1000)),
                   f->lease, info);
    return e == ERR_OK && last ? delta_tell(db, f->lease, "delta.failed", info) : e;
}

enum err delta_fail(struct db *db, const struct delta_lease *lease, const char *why, struct err_info *info)
{
    struct failing f = {.lease = lease, .why = why};
    return db_transaction(db, fail_work, &f, info);
}

enum err delta_release(struct db *db, const struct delta_lease *lease, struct err_info *info)
{
    return ours_write(db, "UPDATE delta SET state = 'wanted', tries = tries - 1, not_before = now()" OURS_SQL,
                      DB_ARGS(db_i64(lease->id), db_i64(lease->epoch)), lease, info);
}

struct discarding {
    const char *sha256;
    bool found;
};

static enum err discard_work(struct db *db, void *arg, struct err_info *info)
{
    struct discarding *d = arg;
    int64_t changed = 0;
    enum err e = db_exec(db,
                         "UPDATE delta SET state = 'wanted', object_sha256 = NULL, tries = 0, not_before = now(),"
                         " error = 'what was stored of it is damaged' WHERE object_sha256 = $1::text",
                         DB_ARGS(db_text(d->sha256)), &changed, info);
    d->found = changed > 0;
    if (e != ERR_OK || !d->found)
        return e;
    cleanup_rows struct rows *gone = NULL;
    e = db_query(db,
                 "DELETE FROM object WHERE sha256 = $1::text AND NOT EXISTS"
                 " (SELECT FROM bundle WHERE object_sha256 = $1::text) RETURNING blob",
                 DB_ARGS(db_text(d->sha256)), &gone, info);
    return e == ERR_OK && rows_count(gone) == 1 ? blob_delete(db, rows_i64(gone, 0, 0), info) : e;
}

enum err delta_discard(struct db *db, const char *sha256, bool *ret_found, struct err_info *info)
{
    struct discarding d = {.sha256 = sha256};
    enum err e = db_transaction(db, discard_work, &d, info);
    if (e == ERR_OK)
        *ret_found = d.found;
    return e;
}

enum err delta_give_up(struct db *db, struct err_info *info)
{
    return db_exec(db,
                   "UPDATE delta SET state = 'failed', finished_at = now(),"
                   " error = 'the server ended while it made this delta, ' || tries || ' times; the last was '"
                   "   || lease_owner"
                   " WHERE state = 'making' AND lease_until < now() AND tries >= $1::integer",
                   DB_ARGS(db_i64(DELTA_TRIES_MAX)), NULL, info);
}
