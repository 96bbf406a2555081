#include "server/store/alert.h"

#include "common/base/json.h"
#include "common/base/text.h"
#include "server/store/event.h"
#include "server/store/records.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* ---------------------------------------------------------------- looking */

enum err alert_lock(struct db *db, bool *ret_held, struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    enum err e =
        db_query(db, "SELECT pg_try_advisory_xact_lock(hashtextextended('alert engine', 0))", DB_NO_ARGS, &rows, info);
    if (e == ERR_OK)
        *ret_held = rows_flag(rows, 0, 0);
    return e;
}

#define MS_SINCE(column) "(extract(epoch FROM now() - " column ") * 1000)::bigint"

/* What is worth a look is wider than any rule: core/alert.h alone decides. */
static const char *const looks_sql =
    "SELECT r.id, r.kind, r.threshold, r.for_s::bigint * 1000, d.id, a.id, a.state, " MS_SINCE(
        "a.since") ","
                   "       r.enabled AND d.retired_at IS NULL, " MS_SINCE("l.last_seen") ", " MS_SINCE(
                       "l.gone_at") ","
                                    "       (l.beat_s * 1000)::bigint, l.margin_c"
                                    " FROM (SELECT rule_id, device_id FROM alert WHERE state <> 'resolved'"
                                    "       UNION SELECT r.id, l.device_id FROM liveness l JOIN alert_rule r ON "
                                    "r.enabled AND CASE r.kind"
                                    "           WHEN 'heartbeat_missing' THEN l.gone_at IS NOT NULL"
                                    "                OR l.last_seen < now() - make_interval(secs => l.beat_s * "
                                    "least(r.threshold, 1))"
                                    "           WHEN 'temperature' THEN l.margin_c <= r.threshold END) look"
                                    " JOIN alert_rule r ON r.id = look.rule_id JOIN device d ON d.id = look.device_id"
                                    " LEFT JOIN liveness l ON l.device_id = d.id"
                                    " LEFT JOIN alert a ON a.rule_id = r.id AND a.device_id = d.id AND a.state <> "
                                    "'resolved'"
                                    " WHERE a.id IS NOT NULL OR d.retired_at IS NULL ORDER BY r.id, d.id";

/* A duration; -1: there is none. What another transaction wrote after this one began was just now. */
static int64_t since_read(const struct rows *rows, size_t row, int column)
{
    int64_t ms = rows_i64(rows, row, column);
    return rows_null(rows, row, column) ? -1 : ms > 0 ? ms : 0;
}

static double f64_or_nan(const struct rows *rows, size_t row, int column)
{
    return rows_null(rows, row, column) ? NAN : rows_f64(rows, row, column);
}

static struct alert_look look_read(const struct rows *rows, size_t row)
{
    struct alert_look look = {
        .rule_id = rows_i64(rows, row, 0),
        .alert_id = rows_i64(rows, row, 5),
        .rule = {.kind = alert_kind_parse(rows_text(rows, row, 1)),
                 .threshold = rows_f64(rows, row, 2),
                 .for_ms = rows_i64(rows, row, 3)},
        .fact = {.watched = rows_flag(rows, row, 8),
                 .silent_ms = since_read(rows, row, 9),
                 .gone_ms = since_read(rows, row, 10),
                 .beat_ms = rows_i64(rows, row, 11),
                 .margin_c = f64_or_nan(rows, row, 12),
                 .state = rows_null(rows, row, 6) ? ALERT_NONE : alert_state_parse(rows_text(rows, row, 6)),
                 .held_ms = rows_i64(rows, row, 7)},
    };
    (void)text_copy(look.device_id, sizeof look.device_id, rows_text(rows, row, 4));
    return look;
}

enum err alert_looks(struct db *db, struct alert_look **ret_looks, size_t *ret_count, struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    enum err e = db_query(db, looks_sql, DB_NO_ARGS, &rows, info);
    if (e != ERR_OK)
        return e;
    struct alert_look *looks = calloc(rows_count(rows) + 1, sizeof *looks);
    if (looks == NULL)
        return ERR_NO_MEMORY;
    for (size_t row = 0; row < rows_count(rows); row++)
        looks[row] = look_read(rows, row);
    *ret_looks = looks;
    *ret_count = rows_count(rows);
    return ERR_OK;
}

/* ---------------------------------------------------------------- writing */

static json_t *change_record(const struct alert_change *change)
{
    const struct alert_look *look = change->look;
    return json_pack("{s:I, s:I, s:s, s:s, s:s, s:I, s:o*}", "id", (json_int_t)look->alert_id, "rule_id",
                     (json_int_t)look->rule_id, "device_id", look->device_id, "state_from",
                     alert_state_name(look->fact.state), "state_to", alert_state_name(change->to), "ago",
                     (json_int_t)change->finding.ago_ms, "value",
                     isnan(change->finding.value) ? NULL : json_real(change->finding.value));
}

/* `value` is of the moment when an alert began, and then of when it fired: it stays when it is resolved. */
static const char *const apply_sql =
    "WITH x AS (SELECT * FROM jsonb_to_recordset($1::jsonb)"
    "           AS x(id bigint, rule_id bigint, device_id text, state_from text, state_to text, ago bigint,"
    "                value real)),"
    " dropped AS (DELETE FROM alert a USING x"
    "   WHERE x.state_to = 'none' AND a.id = x.id AND a.state = x.state_from),"
    " begun AS (INSERT INTO alert (rule_id, device_id, state, value, since, fired_at)"
    "   SELECT rule_id, device_id, state_to, value, now() - ago * interval '1 ms', CASE WHEN state_to = 'firing' THEN "
    "now() END FROM x"
    "   WHERE state_from = 'none' ORDER BY rule_id, device_id"
    "   ON CONFLICT (rule_id, device_id) WHERE state <> 'resolved' DO NOTHING"
    "   RETURNING id, rule_id, device_id, state, value),"
    " moved AS (UPDATE alert a SET state = x.state_to,"
    "     value = CASE x.state_to WHEN 'firing' THEN coalesce(x.value, a.value) ELSE a.value END,"
    "     fired_at = CASE x.state_to WHEN 'firing' THEN now() ELSE a.fired_at END,"
    "     resolved_at = CASE x.state_to WHEN 'resolved' THEN now() END"
    "   FROM x WHERE x.state_to IN ('firing', 'resolved') AND a.id = x.id AND a.state = x.state_from"
    "   RETURNING a.id, a.rule_id, a.device_id, a.state, a.value)"
    " SELECT t.id, r.kind, r.severity, t.state, t.device_id, t.value, r.threshold"
    " FROM (SELECT * FROM begun UNION ALL SELECT * FROM moved) t JOIN alert_rule r ON r.id = t.rule_id"
    " WHERE t.state <> 'pending' ORDER BY t.id";

static json_t *number_or_null(const struct rows *rows, size_t row, int column)
{
    return rows_null(rows, row, column) ? json_null() : json_real(rows_f64(rows, row, column));
}

/* Tells of alerts that fired or were resolved; rows of apply_sql. */
static enum err transitions_tell(struct db *db, const struct rows *rows, struct err_info *info)
{
    size_t count = rows_count(rows);
    struct event_entry *events = calloc(count + 1, sizeof *events);
    enum err e = events == NULL ? ERR_NO_MEMORY : ERR_OK;
    for (size_t row = 0; e == ERR_OK && row < count; row++) {
        json_t *data =
            json_pack("{s:s, s:s, s:s, s:s, s:o, s:f}", "alert", rows_text(rows, row, 0), "kind",
                      rows_text(rows, row, 1), "severity", rows_text(rows, row, 2), "state", rows_text(rows, row, 3),
                      "value", number_or_null(rows, row, 5), "threshold", rows_f64(rows, row, 6));
        events[row] = (struct event_entry){
            .kind = "alert.state", .actor = "system", .device_id = rows_text(rows, row, 4), .data = data};
        e = data == NULL ? ERR_NO_MEMORY : ERR_OK;
    }
    if (e == ERR_OK)
        e = event_add_many(db, events, count, info);
    for (size_t row = 0; events != NULL && row < count; row++)
        json_decref(events[row].data);
    free(events);
    return e;
}

enum err alert_apply(struct db *db, const struct alert_change *changes, size_t count, size_t *ret_told,
                     struct err_info *info)
{
    *ret_told = 0;
    if (count == 0)
        return ERR_OK;
    json_auto_t *records = json_array();
    for (size_t i = 0; i < count; i++) {
        enum err e = records_add(records, change_record(&changes[i]));
        if (e != ERR_OK)
            return e;
    }
    cleanup_rows struct rows *rows = NULL;
    enum err e = records_query(db, apply_sql, records, DB_NO_ARGS, &rows, info);
    if (e == ERR_OK)
        e = transitions_tell(db, rows, info);
    if (e == ERR_OK)
        *ret_told = rows_count(rows);
    return e;
}

/* ---------------------------------------------------------------- reading */

#define ALERT_COLUMNS                                                                                                  \
    "SELECT a.id, r.kind, r.severity, a.state, d.id, d.name, i.name, a.value, r.threshold, ms(a.since),"               \
    " ms(a.fired_at), ms(a.resolved_at), ms(a.acked_at), a.acked_by, a.ack_note,"                                      \
    " (l.beat_s * 1000)::bigint, " MS_SINCE(                                                                           \
        "l.last_seen") ", l.gone_at IS NOT NULL, l.margin_c,"                                                          \
                       " ms(a.resolved_at) - ms(a.since)"                                                              \
                       " FROM alert a JOIN alert_rule r ON r.id = a.rule_id JOIN device d ON d.id = a.device_id"       \
                       " JOIN site i ON i.id = d.site_id LEFT JOIN liveness l ON l.device_id = d.id"

static json_t *i64_or_null(const struct rows *rows, size_t row, int column)
{
    return rows_null(rows, row, column) ? json_null() : json_integer(rows_i64(rows, row, column));
}

static json_t *text_or_null(const struct rows *rows, size_t row, int column)
{
    return rows_null(rows, row, column) ? json_null() : json_string(rows_text(rows, row, column));
}

static void row_summary(const struct rows *rows, size_t row, char text[ALERT_SUMMARY_SIZE])
{
    const struct alert_story story = {
        .kind = alert_kind_parse(rows_text(rows, row, 1)),
        .state = alert_state_parse(rows_text(rows, row, 3)),
        .device = rows_text(rows, row, 5),
        .value = f64_or_nan(rows, row, 7),
        .threshold = rows_f64(rows, row, 8),
        .beat_ms = rows_i64(rows, row, 15),
        .silent_ms = since_read(rows, row, 16),
        .gone = rows_flag(rows, row, 17),
        .margin_c = f64_or_nan(rows, row, 18),
        .lasted_ms = rows_i64(rows, row, 19),
    };
    alert_summary(&story, text);
}

/* openapi's Alert of a row of ALERT_COLUMNS. */
static json_t *row_to_json(const struct rows *rows, size_t row)
{
    char summary[ALERT_SUMMARY_SIZE];
    row_summary(rows, row, summary);
    return json_pack("{s:s, s:s, s:s, s:s, s:{s:s, s:s}, s:s, s:s, s:o, s:f, s:I, s:o, s:o, s:o, s:o, s:o}", /* */
                     "id", rows_text(rows, row, 0), "kind", rows_text(rows, row, 1), "severity",
                     rows_text(rows, row, 2), "state", rows_text(rows, row, 3), "device", "id", rows_text(rows, row, 4),
                     "name", rows_text(rows, row, 5), "site", rows_text(rows, row, 6), "summary", summary, "value",
                     number_or_null(rows, row, 7), "threshold", rows_f64(rows, row, 8), "since",
                     (json_int_t)rows_i64(rows, row, 9), "fired_at", i64_or_null(rows, row, 10), "resolved_at",
                     i64_or_null(rows, row, 11), "acked_at", i64_or_null(rows, row, 12), "acked_by",
                     text_or_null(rows, row, 13), "ack_note", text_or_null(rows, row, 14));
}

enum err alert_list(struct db *db, const struct alert_filter *filter, char **ret_json, struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    enum err e = db_query(
        db,
        ALERT_COLUMNS " WHERE ($1::text IS NULL OR a.state = $1::text)"
                      " AND ($2::text IS NULL OR d.id = $2::text OR d.name = $2::text)"
                      " AND ($4::bigint = 0 OR a.id < $4::bigint)"
                      " ORDER BY a.id DESC LIMIT $3::bigint",
        DB_ARGS(db_text(filter->state), db_text(filter->device), db_i64(filter->limit), db_i64(filter->before_id)),
        &rows, info);
    if (e != ERR_OK)
        return e;
    json_t *alerts = json_array();
    for (size_t row = 0; row < rows_count(rows); row++)
        if (json_array_append_new(alerts, row_to_json(rows, row)) != 0) {
            json_decref(alerts);
            return ERR_NO_MEMORY;
        }
    json_auto_t *list = json_pack("{s:o}", "alerts", alerts);
    return json_print(list, ret_json, NULL);
}

static enum err not_found(int64_t id, struct err_info *info)
{
    enum err e = err_code(info, ERR_NOT_FOUND, "alert_not_found", "there is no alert %" PRId64, id);
    err_next(info, "list the alerts with GET /api/v1/alerts");
    return e;
}

enum err alert_get(struct db *db, int64_t id, json_t **ret_alert, struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    enum err e = db_query(db, ALERT_COLUMNS " WHERE a.id = $1::bigint", DB_ARGS(db_i64(id)), &rows, info);
    if (e != ERR_OK)
        return e;
    if (rows_count(rows) == 0)
        return not_found(id, info);
    json_t *alert = row_to_json(rows, 0);
    if (alert == NULL)
        return ERR_NO_MEMORY;
    *ret_alert = alert;
    return ERR_OK;
}

enum err alert_ack(struct db *db, int64_t id, const char *actor, const char *note, struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    enum err e = db_query(db, "SELECT state = 'resolved' FROM alert WHERE id = $1::bigint FOR UPDATE",
                          DB_ARGS(db_i64(id)), &rows, info);
    if (e != ERR_OK)
        return e;
    if (rows_count(rows) == 0)
        return not_found(id, info);
    if (rows_flag(rows, 0, 0))
        return err_code(info, ERR_CONFLICT, "alert_resolved", "alert %" PRId64 " is over; nobody needs to take it", id);
    return db_exec(db,
                   "UPDATE alert SET acked_at = now(), acked_by = $2::text, ack_note = $3::text WHERE id = $1::bigint",
                   DB_ARGS(db_i64(id), db_text(actor), db_text(note)), NULL, info);
}
