#include "server/store/event.h"

#include "common/base/json.h"
#include "server/store/records.h"

static json_t *event_record(const struct event_entry *entry)
{
    json_t *record = json_pack("{s:s, s:s, s:s?, s:O?}", "kind", entry->kind, "actor", entry->actor, "device_id",
                               entry->device_id, "data", entry->data);
    int failed = record == NULL;
    if (entry->rollout_id != 0)
        failed |= json_object_set_new(record, "rollout_id", json_integer(entry->rollout_id));
    if (entry->wave != 0)
        failed |= json_object_set_new(record, "wave", json_integer(entry->wave));
    if (entry->t_ms != 0)
        failed |= json_object_set_new(record, "t", json_integer(entry->t_ms));
    if (failed == 0)
        return record;
    json_decref(record);
    return NULL;
}

enum err event_add(struct db *db, const struct event_entry *entry, struct err_info *info)
{
    return event_add_many(db, entry, 1, info);
}

enum err event_add_many(struct db *db, const struct event_entry *entries, size_t count, struct err_info *info)
{
    if (count == 0)
        return ERR_OK;
    json_auto_t *records = json_array();
    for (size_t i = 0; i < count; i++) {
        enum err e = records_add(records, event_record(&entries[i]));
        if (e != ERR_OK)
            return e;
    }
    return records_query(db,
                         "INSERT INTO event (t, kind, actor, device_id, rollout_id, wave, data)"
                         " SELECT coalesce(least(from_ms(t), now()), now()), kind, actor, device_id, rollout_id, wave,"
                         "        coalesce(nullif(data, 'null'), '{}')"
                         " FROM jsonb_to_recordset($1::jsonb)"
                         " AS x(t bigint, kind text, actor text, device_id text, rollout_id bigint, wave integer,"
                         "      data jsonb)",
                         records, DB_NO_ARGS, NULL, info);
}

enum err event_list(struct db *db, const char *device_id, int64_t rollout_id, int64_t limit, int64_t before_id,
                    char **ret_json, struct err_info *info)
{
    return db_query_text(
        db,
        "SELECT jsonb_build_object('events', coalesce(jsonb_agg(jsonb_build_object("
        "   'id', e.id::text, 't', ms(e.t), 'kind', e.kind, 'actor', e.actor,"
        "   'device', CASE WHEN d.id IS NOT NULL THEN jsonb_build_object('id', d.id, 'name', d.name) END,"
        "   'rollout', e.rollout_id::text, 'wave', e.wave, 'data', e.data) ORDER BY e.id DESC), '[]'))"
        " FROM (SELECT * FROM event WHERE ($1::text IS NULL OR device_id = $1::text)"
        "       AND ($2::bigint = 0 OR rollout_id = $2::bigint) AND ($4::bigint = 0 OR id < $4::bigint)"
        "       ORDER BY id DESC LIMIT $3::bigint) e"
        " LEFT JOIN device d ON d.id = e.device_id",
        DB_ARGS(db_text(device_id), db_i64(rollout_id), db_i64(limit), db_i64(before_id)), ret_json, info);
}
