#include "server/store/hold.h"

#include "common/base/json.h"
#include "server/store/desired.h"
#include "server/store/event.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Fills info with who holds the device already. */
static enum err conflict_tell(struct db *db, const char *device_id, struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    enum err e = db_query(db,
                          "SELECT owner, reason FROM hold WHERE device_id = $1::text AND source = 'policy'"
                          " AND released_at IS NULL",
                          DB_ARGS(db_text(device_id)), &rows, info);
    if (e != ERR_OK)
        return e;
    bool there = rows_count(rows) > 0;
    e = err_code(info, ERR_CONFLICT, "already_held", "the device is already held by %s: %s",
                 there ? rows_text(rows, 0, 0) : "somebody", there ? rows_text(rows, 0, 1) : "");
    err_next(info, "Release it first, or leave it as it is.");
    return e;
}

enum err hold_add(struct db *db, const struct hold_request *request, char **ret_json, struct err_info *info)
{
    char *json = NULL;
    enum err e = db_query_text(db,
                               "INSERT INTO hold AS h (device_id, source, reason, owner, expires_at, on_expiry)"
                               " VALUES ($1::text, 'policy', $2::text, $3::text,"
                               "         now() + nullif($4::bigint, 0) * interval '1 s', $5::text)"
                               " ON CONFLICT DO NOTHING RETURNING " HOLD_JSON_SQL,
                               DB_ARGS(db_text(request->device_id), db_text(request->reason), db_text(request->owner),
                                       db_i64(request->expires_in_s), db_text(request->on_expiry)),
                               &json, info);
    if (e == ERR_NOT_FOUND && json == NULL)
        return conflict_tell(db, request->device_id, info);
    if (e != ERR_OK)
        return e;
    e = desired_touch(db, request->device_id, info);
    if (e != ERR_OK) {
        free(json);
        return e;
    }
    *ret_json = json;
    return ERR_OK;
}

enum err hold_release(struct db *db, const char *device_id, const char *released_by, char **ret_json,
                      struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    enum err e = db_query(db,
                          "WITH h AS (UPDATE hold SET released_at = now(), released_by = $2::text"
                          "           WHERE device_id = $1::text AND released_at IS NULL RETURNING *)"
                          " SELECT jsonb_agg(" HOLD_JSON_SQL " ORDER BY h.since) FROM h",
                          DB_ARGS(db_text(device_id), db_text(released_by)), &rows, info);
    if (e != ERR_OK)
        return e;
    if (rows_null(rows, 0, 0)) {
        *ret_json = NULL;
        return ERR_OK;
    }
    e = desired_touch(db, device_id, info);
    if (e != ERR_OK)
        return e;
    char *json = strdup(rows_text(rows, 0, 0));
    if (json == NULL)
        return ERR_NO_MEMORY;
    *ret_json = json;
    return ERR_OK;
}

static enum err expiry_tell(struct db *db, const struct rows *rows, size_t row, struct err_info *info)
{
    const char *device_id = rows_text(rows, row, 0);
    const char *text = rows_text(rows, row, 1);
    json_auto_t *data = NULL;
    enum err e = json_parse(text, strlen(text), JSON_BYTES_MAX, &data, info);
    if (e != ERR_OK)
        return e;
    const struct event_entry event = {.kind = "device.hold", .actor = "system", .device_id = device_id, .data = data};
    e = event_add(db, &event, info);
    return e == ERR_OK ? desired_touch(db, device_id, info) : e;
}

enum err hold_expire(struct db *db, struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    enum err e =
        db_query(db,
                 "UPDATE hold h SET released_at = now(), released_by = 'system'"
                 " WHERE h.released_at IS NULL AND h.expires_at <= now() AND (h.on_expiry = 'apply' OR NOT EXISTS ("
                 "   SELECT 1 FROM assignment a JOIN rollout r ON r.id = a.rollout_id WHERE a.device_id = h.device_id"
                 "   AND a.state IN ('offered', 'downloading', 'staged', 'held') AND r.state IN ('running', 'paused')))"
                 " RETURNING h.device_id, jsonb_build_object('held', false, 'ran_out', true, 'holds',"
                 "                                             jsonb_build_array(" HOLD_JSON_SQL "))",
                 DB_NO_ARGS, &rows, info);
    for (size_t i = 0; e == ERR_OK && i < rows_count(rows); i++)
        e = expiry_tell(db, rows, i, info);
    return e;
}
