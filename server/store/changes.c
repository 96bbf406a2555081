#include "server/store/changes.h"

enum err changes_now(struct db *db, struct changes_window *ret_window, struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    enum err e =
        db_query(db, "SELECT coalesce((SELECT max(id) FROM event), 0), coalesce((SELECT max(id) FROM audit), 0)",
                 DB_NO_ARGS, &rows, info);
    if (e == ERR_OK)
        *ret_window = (struct changes_window){.event_after = rows_i64(rows, 0, 0), .audit_after = rows_i64(rows, 0, 1)};
    return e;
}

enum err changes_read(struct db *db, const struct changes_window *window, struct rows **ret_rows, struct err_info *info)
{
    return db_query(
        db,
        "(SELECT 'event ' || e.id, t.topic"
        " FROM (SELECT * FROM event WHERE id > $1::bigint ORDER BY id DESC LIMIT $3::bigint / 2) e"
        " CROSS JOIN LATERAL (VALUES ('fleet'), ('device:' || e.device_id), ('rollout:' || e.rollout_id),"
        " (CASE WHEN e.kind LIKE 'alert.%' THEN 'alerts' END)) t (topic) WHERE t.topic IS NOT NULL)"
        " UNION ALL (SELECT 'audit ' || id, 'fleet' FROM audit WHERE id > $2::bigint ORDER BY id DESC LIMIT 100)"
        " UNION ALL (SELECT 'beat ' || device_id || ' ' || extract(epoch FROM greatest(last_seen, gone_at)),"
        " 'device:' || device_id FROM liveness WHERE greatest(last_seen, gone_at) > now() - interval '3 s'"
        " ORDER BY greatest(last_seen, gone_at) DESC LIMIT $3::bigint)"
        " UNION ALL (SELECT 'alerts ' || md5(coalesce(string_agg(id || state || (acked_at IS NULL), ' ' ORDER BY id), "
        "'')),"
        " 'alerts' FROM alert WHERE state <> 'resolved')",
        DB_ARGS(db_i64(window->event_after), db_i64(window->audit_after), db_i64(CHANGES_MAX)), ret_rows, info);
}
