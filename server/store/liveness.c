#include "server/store/liveness.h"

#include "common/base/text.h"
#include "server/store/records.h"

#include <math.h>
#include <stdlib.h>

enum err liveness_standing(struct db *db, const char *const *ids, size_t count, struct device_standing **ret_found,
                           size_t *ret_count, struct err_info *info)
{
    json_auto_t *records = json_array();
    for (size_t i = 0; i < count; i++) {
        enum err e = records_add(records, json_string(ids[i]));
        if (e != ERR_OK)
            return e;
    }
    cleanup_rows struct rows *rows = NULL;
    enum err e = records_query(db,
                               "SELECT d.id, coalesce(w.generation, 0), coalesce(l.beat_s, 0) FROM device d"
                               " LEFT JOIN desired w ON w.device_id = d.id LEFT JOIN liveness l ON l.device_id = d.id"
                               " WHERE d.id IN (SELECT jsonb_array_elements_text($1::jsonb)) AND d.retired_at IS NULL"
                               " ORDER BY d.id",
                               records, DB_NO_ARGS, &rows, info);
    if (e != ERR_OK)
        return e;
    struct device_standing *found = calloc(rows_count(rows) + 1, sizeof *found);
    if (found == NULL)
        return ERR_NO_MEMORY;
    for (size_t row = 0; row < rows_count(rows); row++) {
        (void)text_copy(found[row].id, sizeof found[row].id, rows_text(rows, row, 0));
        found[row].generation = rows_i64(rows, row, 1);
        found[row].beat_s = rows_f64(rows, row, 2);
    }
    *ret_found = found;
    *ret_count = rows_count(rows);
    return ERR_OK;
}

/* Members that the messages do not tell are absent, which is null in SQL. */
static json_t *change_record(const struct liveness_change *change)
{
    const struct presence *p = &change->presence;
    json_t *record = json_pack("{s:s, s:I}", "device_id", change->device_id, "session", (json_int_t)p->session);
    int failed = record == NULL;
    if (p->seen_age_ms >= 0)
        failed |= json_object_set_new(record, "seen_age", json_integer(p->seen_age_ms));
    if (p->gone_age_ms >= 0)
        failed |= json_object_set_new(record, "gone_age", json_integer(p->gone_age_ms));
    if (p->hello != NULL) {
        failed |= json_object_set_new(record, "boot_id", json_string(p->hello->boot_id));
        failed |= json_object_set_new(record, "agent_version", json_string(p->hello->agent_version));
        failed |= json_object_set_new(record, "generation", json_integer(p->hello->generation));
    }
    if (p->beat != NULL) {
        failed |= json_object_set_new(record, "uptime_s", json_integer(p->beat->uptime_s));
        failed |= json_object_set_new(record, "throttled", json_boolean(p->beat->throttled));
        failed |= json_object_set_new(record, "generation", json_integer(p->beat->generation));
        if (!isnan(p->beat->margin_c))
            failed |= json_object_set_new(record, "margin_c", json_real(p->beat->margin_c));
    }
    if (failed == 0)
        return record;
    json_decref(record);
    return NULL;
}

#define CHANGES                                                                                                        \
    "x AS (SELECT * FROM jsonb_to_recordset($1::jsonb)"                                                                \
    "      AS x(device_id text, session bigint, seen_age bigint, gone_age bigint, boot_id text, agent_version text,"   \
    "           generation bigint, uptime_s bigint, throttled boolean, margin_c real))"

/* In one session uptime only grows: a beat with less of it was overtaken by a later one on its way through another
 * server. Rows are locked in one order everywhere. */
static const char *const apply_sql =
    "WITH " CHANGES ","
    " locked AS MATERIALIZED (SELECT l.device_id FROM liveness l JOIN x USING (device_id)"
    "                         ORDER BY l.device_id FOR UPDATE OF l)"
    " UPDATE liveness l SET session = x.session, beat_s = $2::real,"
    "   last_seen = greatest(l.last_seen, now() - x.seen_age * interval '1 ms'),"
    "   gone_at = now() - x.gone_age * interval '1 ms',"
    "   boot_id = coalesce(x.boot_id, l.boot_id),"
    "   uptime_s = CASE WHEN x.uptime_s IS NOT NULL THEN x.uptime_s"
    "                   WHEN x.session > l.session THEN 0 ELSE l.uptime_s END,"
    "   generation = coalesce(x.generation, l.generation),"
    "   margin_c = CASE WHEN x.uptime_s IS NOT NULL THEN x.margin_c ELSE l.margin_c END,"
    "   throttled = coalesce(x.throttled, l.throttled)"
    " FROM x WHERE l.device_id = x.device_id AND l.device_id IN (SELECT device_id FROM locked)"
    "   AND (x.session > l.session OR (x.session = l.session AND coalesce(x.uptime_s >= l.uptime_s, true)))"
    " RETURNING l.device_id";

static void taken_mark(struct liveness_change *changes, size_t count, const struct rows *rows)
{
    for (size_t i = 0; i < count; i++) {
        changes[i].taken = false;
        for (size_t row = 0; row < rows_count(rows) && !changes[i].taken; row++)
            changes[i].taken = text_eq(changes[i].device_id, rows_text(rows, row, 0));
    }
}

enum err liveness_apply(struct db *db, struct liveness_change *changes, size_t count, double beat_s,
                        struct err_info *info)
{
    if (count == 0)
        return ERR_OK;
    json_auto_t *records = json_array();
    enum err e = ERR_OK;
    bool greeted = false;
    for (size_t i = 0; e == ERR_OK && i < count; i++) {
        e = records_add(records, change_record(&changes[i]));
        greeted |= changes[i].presence.hello != NULL;
    }
    if (e == ERR_OK)
        e = records_query(db,
                          "WITH " CHANGES " INSERT INTO liveness (device_id) SELECT device_id FROM x ORDER BY device_id"
                          " ON CONFLICT DO NOTHING",
                          records, DB_NO_ARGS, NULL, info);
    cleanup_rows struct rows *rows = NULL;
    if (e == ERR_OK)
        e = records_query(db, apply_sql, records, DB_ARGS(db_f64(beat_s)), &rows, info);
    if (e == ERR_OK && greeted)
        e = records_query(db,
                          "WITH " CHANGES " UPDATE device d SET agent_version = x.agent_version FROM x"
                          " WHERE d.id = x.device_id AND d.agent_version <> x.agent_version",
                          records, DB_NO_ARGS, NULL, info);
    if (e == ERR_OK)
        taken_mark(changes, count, rows);
    return e;
}
