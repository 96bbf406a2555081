#include "server/store/device_slot.h"

#include "common/base/cleanup.h"
#include "common/base/json.h"
#include "server/store/records.h"

static json_t *slot_record(const char *device_id, const struct beat *beat, const struct beat_slot *s)
{
    return json_pack("{s:s, s:s, s:s, s:s?, s:s?, s:s?, s:I, s:I, s:s?, s:s?, s:s?, s:s?, s:I}", "device_id", device_id,
                     "slot", s->name, "phase", s->phase, "target", s->target, "running", s->running, "previous",
                     s->previous, "progress", (json_int_t)s->progress, "downloaded", (json_int_t)s->downloaded, "stage",
                     s->stage, "code", s->code, "detail", s->detail, "device_left", s->device_left, "generation",
                     (json_int_t)beat->generation);
}

enum err device_slot_replace(struct db *db, const struct device_slots *devices, size_t count, struct err_info *info)
{
    if (count == 0)
        return ERR_OK;
    json_auto_t *ids = json_array();
    json_auto_t *records = json_array();
    for (size_t i = 0; i < count; i++) {
        enum err e = records_add(ids, json_pack("{s:s}", "device_id", devices[i].device_id));
        for (size_t n = 0; e == ERR_OK && n < devices[i].beat->slot_count; n++)
            e = records_add(records, slot_record(devices[i].device_id, devices[i].beat, &devices[i].beat->slots[n]));
        if (e != ERR_OK)
            return e;
    }
    cleanup_free char *kept = NULL;
    enum err e = json_print(records, &kept, NULL);
    if (e == ERR_OK)
        e = records_query(db,
                          "DELETE FROM device_slot s USING jsonb_to_recordset($1::jsonb) AS d(device_id text)"
                          " WHERE s.device_id = d.device_id AND NOT EXISTS"
                          " (SELECT 1 FROM jsonb_to_recordset($2::jsonb) AS k(device_id text, slot text)"
                          "  WHERE k.device_id = s.device_id AND k.slot = s.slot)",
                          ids, DB_ARGS(db_text(kept)), NULL, info);
    if (e != ERR_OK || json_array_size(records) == 0)
        return e;
    return records_query(
        db,
        "INSERT INTO device_slot AS s (device_id, slot, phase, target, running, previous, progress, downloaded,"
        "                              stage, code, detail, device_left, generation, reported_at)"
        " SELECT device_id, slot, phase, target, running, previous, progress, downloaded,"
        "        stage, code, detail, device_left, generation, now()"
        " FROM jsonb_to_recordset($1::jsonb)"
        " AS x(device_id text, slot text, phase text, target text, running text, previous text, progress smallint,"
        "      downloaded bigint, stage text, code text, detail text, device_left text, generation bigint)"
        " ORDER BY device_id, slot"
        " ON CONFLICT (device_id, slot) DO UPDATE SET phase = excluded.phase, target = excluded.target,"
        "   running = excluded.running, previous = excluded.previous, progress = excluded.progress,"
        "   downloaded = excluded.downloaded, stage = excluded.stage, code = excluded.code, detail = excluded.detail,"
        "   device_left = excluded.device_left, generation = excluded.generation, reported_at = excluded.reported_at",
        records, DB_NO_ARGS, NULL, info);
}
