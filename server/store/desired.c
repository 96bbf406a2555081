#include "server/store/desired.h"

#include "server/store/records.h"

/* Ways to get bundle b: a delta from what the device runs, from what it keeps, and always the whole. A device that has
 * just started does not say yet what it runs: then it is what the slot ran when the bundle was asked for (a). A delta
 * that becomes ready later moves no generation: it is in the next document, and nobody waits for it. */
#define RUNS_SQL "coalesce(q.running, a.previous_bundle)"
#define WAYS_SQL                                                                                                       \
    "SELECT CASE WHEN x.from_bundle = " RUNS_SQL " THEN 1 ELSE 2 END AS k, jsonb_build_object('sha256', y.sha256,"     \
    "       'size', y.size::text, 'encoding', 'delta', 'from', x.from_bundle) AS way"                                  \
    " FROM delta x JOIN object y ON y.sha256 = x.object_sha256"                                                        \
    " WHERE x.to_bundle = b.id AND x.state = 'ready' AND x.from_bundle IN (" RUNS_SQL ", q.previous)"                  \
    " UNION ALL SELECT 3, jsonb_build_object('sha256', o.sha256, 'size', o.size::text, 'encoding', 'full')"

enum err desired_document(struct db *db, const char *device_id, double beat_s, char **ret_json, struct err_info *info)
{
    /* Of several holds the one that lasts longest is told. One that has run out and cancels stays until the
     * orchestrator has taken the update back: else a device could apply it in between. */
    static const char sql[] =
        "SELECT jsonb_build_object("
        "   'generation', coalesce(w.generation, 0)::text, 'beat_s', $2::float8, 'critical', '[]'::jsonb,"
        "   'slots', coalesce((SELECT jsonb_object_agg(s.slot, jsonb_build_object("
        "           'bundle', s.bundle_id, 'version', b.version, 'probation_s', s.probation_s,"
        "           'asked', s.asked::text, 'hold', CASE WHEN s.holdable THEN h.hold END,"
        "           'objects', (SELECT jsonb_agg(w.way ORDER BY w.k) FROM (" WAYS_SQL ") w)))"
        "       FROM desired_slot s JOIN bundle b ON b.id = s.bundle_id JOIN object o ON o.sha256 = b.object_sha256"
        "       LEFT JOIN device_slot q ON q.device_id = s.device_id AND q.slot = s.slot"
        "       LEFT JOIN assignment a ON a.rollout_id = s.rollout_id AND a.device_id = s.device_id"
        "       WHERE s.device_id = d.id), '{}'))"
        " FROM device d LEFT JOIN desired w ON w.device_id = d.id LEFT JOIN LATERAL ("
        "   SELECT jsonb_build_object('reason', h.reason, 'owner', h.owner, 'since', ms(h.since),"
        "                             'expires', ms(h.expires_at), 'then', h.on_expiry) AS hold"
        "   FROM hold h WHERE h.device_id = d.id AND h.released_at IS NULL"
        "     AND (h.expires_at IS NULL OR h.expires_at > now() OR h.on_expiry = 'cancel')"
        "   ORDER BY h.expires_at DESC NULLS FIRST, h.id LIMIT 1) h ON true"
        " WHERE d.id = $1::text AND d.retired_at IS NULL";
    enum err e = db_query_text(db, sql, DB_ARGS(db_text(device_id), db_f64(beat_s)), ret_json, info);
    return e == ERR_NOT_FOUND ? err_code(info, e, "device_not_found", "there is no such device") : e;
}

enum err desired_allows_object(struct db *db, const char *device_id, const char *sha256, bool *ret_allowed,
                               struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    enum err e = db_query(db,
                          /* any delta to the bundle: what a device runs may have changed since it was told */
                          "SELECT EXISTS (SELECT 1 FROM desired_slot s JOIN bundle b ON b.id = s.bundle_id"
                          " WHERE s.device_id = $1::text AND (b.object_sha256 = $2::text OR EXISTS (SELECT 1"
                          " FROM delta x WHERE x.to_bundle = b.id AND x.object_sha256 = $2::text)))",
                          DB_ARGS(db_text(device_id), db_text(sha256)), &rows, info);
    if (e == ERR_OK)
        *ret_allowed = rows_flag(rows, 0, 0);
    return e;
}

/* Raises the generation of the devices in `who`, in order of their ids so that two transactions cannot deadlock. */
#define MOVED_SQL                                                                                                      \
    " moved AS (INSERT INTO desired (device_id, generation) SELECT device_id, 1 FROM who ORDER BY device_id"           \
    "   ON CONFLICT (device_id) DO UPDATE SET generation = desired.generation + 1 RETURNING device_id, generation)"

#define WHO_SQL "WITH who AS (SELECT jsonb_array_elements_text($1::jsonb) AS device_id)," MOVED_SQL

#define NOTED_SQL                                                                                                      \
    ", noted AS (UPDATE assignment a SET generation = m.generation FROM moved m"                                       \
    "   WHERE a.rollout_id = $2::bigint AND a.device_id = m.device_id)"

#define SET_SQL                                                                                                        \
    " ON CONFLICT (device_id, slot) DO UPDATE SET bundle_id = excluded.bundle_id, rollout_id = excluded.rollout_id,"   \
    "   probation_s = excluded.probation_s, asked = excluded.asked, holdable = excluded.holdable"

enum err desired_touch(struct db *db, const char *device_id, struct err_info *info)
{
    return db_exec(db, "WITH who AS (SELECT $1::text AS device_id)," MOVED_SQL " SELECT FROM moved",
                   DB_ARGS(db_text(device_id)), NULL, info);
}

static enum err change(struct db *db, const char *sql, int64_t rollout_id, const json_t *device_ids,
                       struct err_info *info)
{
    if (json_array_size(device_ids) == 0)
        return ERR_OK;
    return records_query(db, sql, device_ids, DB_ARGS(db_i64(rollout_id)), NULL, info);
}

enum err desired_offer(struct db *db, int64_t rollout_id, const json_t *device_ids, struct err_info *info)
{
    return change(
        db,
        WHO_SQL NOTED_SQL
        " INSERT INTO desired_slot (device_id, slot, bundle_id, rollout_id, probation_s, asked, holdable)"
        " SELECT m.device_id, r.slot, r.bundle_id, r.id, (r.plan->>'probation_s')::integer, m.generation, true"
        " FROM moved m, rollout r WHERE r.id = $2::bigint" SET_SQL,
        rollout_id, device_ids, info);
}

enum err desired_return(struct db *db, int64_t rollout_id, const json_t *device_ids, struct err_info *info)
{
    return change(db,
                  WHO_SQL NOTED_SQL
                  " INSERT INTO desired_slot (device_id, slot, bundle_id, rollout_id, probation_s, asked, holdable)"
                  " SELECT m.device_id, r.slot, a.previous_bundle, r.id, (r.plan->>'probation_s')::integer,"
                  "        m.generation, false"
                  " FROM moved m JOIN assignment a ON a.device_id = m.device_id JOIN rollout r ON r.id = a.rollout_id"
                  " WHERE r.id = $2::bigint" SET_SQL,
                  rollout_id, device_ids, info);
}

enum err desired_clear(struct db *db, int64_t rollout_id, const json_t *device_ids, struct err_info *info)
{
    return change(db,
                  WHO_SQL NOTED_SQL " DELETE FROM desired_slot s USING moved m, rollout r"
                                    " WHERE r.id = $2::bigint AND s.device_id = m.device_id AND s.slot = r.slot",
                  rollout_id, device_ids, info);
}

enum err desired_take_hints(struct db *db, int64_t limit, struct rows **ret_rows, struct err_info *info)
{
    return db_query(db,
                    "UPDATE desired SET hinted = generation WHERE device_id IN"
                    " (SELECT device_id FROM desired WHERE hinted < generation LIMIT $1::bigint FOR UPDATE SKIP LOCKED)"
                    " RETURNING device_id",
                    DB_ARGS(db_i64(limit)), ret_rows, info);
}
