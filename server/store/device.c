#include "server/store/device.h"

#include "common/base/cleanup.h"
#include "common/base/crypt.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "server/core/item.h"
#include "server/store/hold.h"
#include "server/store/records.h"

#include <string.h>

enum err device_find(struct db *db, const char *id_or_name, char ret_id[DEVICE_ID_SIZE], struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    enum err e = db_query(db,
                          "SELECT id FROM device WHERE (id = $1::text OR name = $1::text) AND retired_at IS NULL"
                          " ORDER BY id = $1::text DESC LIMIT 1",
                          DB_ARGS(db_text(id_or_name)), &rows, info);
    if (e != ERR_OK)
        return e;
    if (rows_count(rows) == 0) {
        e = err_code(info, ERR_NOT_FOUND, "device_not_found", "there is no device \"%.80s\"", id_or_name);
        err_next(info, "GET /api/v1/devices lists devices with their ids and names.");
        return e;
    }
    (void)text_copy(ret_id, DEVICE_ID_SIZE, rows_text(rows, 0, 0));
    return ERR_OK;
}

/* A selector as records for MATCHING; no selector gives no terms, which match everything. */
static enum err terms_of(const struct selector *sel, json_t **ret_terms)
{
    json_auto_t *terms = json_array();
    for (size_t i = 0; sel != NULL && i < sel->count; i++) {
        const struct selector_term *t = &sel->terms[i];
        enum err e =
            records_add(terms, json_pack("{s:s, s:b, s:s, s:s?}", "field", selector_field_name(t->field), "negated",
                                         (int)t->negated, "pattern", t->like, "version", t->like_version));
        if (e != ERR_OK)
            return e;
    }
    *ret_terms = json_incref(terms);
    return ERR_OK;
}

/* Devices of which no term says otherwise. How a device is costs the most to find out, and is found out only when a
 * term names it. */
#define MATCHING                                                                                                       \
    "terms AS MATERIALIZED (SELECT * FROM jsonb_to_recordset($1::jsonb)"                                               \
    "                       AS q(field text, negated boolean, pattern text, version text)),"                           \
    " matching AS MATERIALIZED ("                                                                                      \
    "   SELECT d.id, d.name, d.hardware, i.name AS site FROM device d JOIN site i ON i.id = d.site_id"                 \
    "   LEFT JOIN (SELECT * FROM device_state"                                                                         \
    "              WHERE EXISTS (SELECT 1 FROM terms WHERE field IN ('status', 'liveness'))) t ON t.device_id = d.id"  \
    "   WHERE d.retired_at IS NULL AND NOT EXISTS (SELECT 1 FROM terms q WHERE q.negated = CASE q.field"               \
    "     WHEN 'id' THEN d.id LIKE q.pattern"                                                                          \
    "     WHEN 'name' THEN d.name LIKE q.pattern"                                                                      \
    "     WHEN 'site' THEN i.name LIKE q.pattern"                                                                      \
    "     WHEN 'hardware' THEN d.hardware LIKE q.pattern"                                                              \
    "     WHEN 'tag' THEN EXISTS (SELECT 1 FROM unnest(d.tags) AS tag WHERE tag LIKE q.pattern)"                       \
    "     WHEN 'status' THEN t.status LIKE q.pattern"                                                                  \
    "     WHEN 'liveness' THEN t.liveness LIKE q.pattern"                                                              \
    "     WHEN 'model' THEN EXISTS (SELECT 1 FROM device_slot s JOIN bundle b ON b.id = s.running"                     \
    "                               WHERE s.device_id = d.id AND s.slot LIKE q.pattern AND b.version LIKE q.version)"  \
    "     END))"

enum err device_select(struct db *db, const struct selector *sel, struct rows **ret_rows, struct err_info *info)
{
    json_auto_t *terms = NULL;
    enum err e = terms_of(sel, &terms);
    if (e != ERR_OK)
        return e;
    return records_query(db,
                         "WITH " MATCHING
                         " SELECT m.id, m.name, m.site, m.hardware, t.status, t.liveness FROM matching m"
                         " JOIN device_state t ON t.device_id = m.id ORDER BY m.name",
                         terms, DB_NO_ARGS, ret_rows, info);
}

/* openapi's Slot of a row of SLOTS_FROM; versions are of the bundles that the server knows. */
#define SLOTS_FROM                                                                                                     \
    "device_slot s LEFT JOIN bundle tb ON tb.id = s.target LEFT JOIN bundle rb ON rb.id = s.running"                   \
    " LEFT JOIN bundle pb ON pb.id = s.previous"
#define SLOT_JSON                                                                                                      \
    "jsonb_build_object('slot', s.slot, 'phase', s.phase, 'target', s.target, 'target_version', tb.version,"           \
    " 'running', s.running, 'running_version', rb.version, 'previous', s.previous, 'previous_version', pb.version,"    \
    " 'progress', s.progress, 'downloaded', s.downloaded::text, 'stage', s.stage, 'code', s.code,"                     \
    " 'detail', s.detail, 'device_left', s.device_left, 'reported_at', ms(s.reported_at))"

/* openapi's DeviceRow of d (device), i (site), l (liveness, may be missing) and t (device_state). */
#define DEVICE_ROW_JSON                                                                                                \
    "jsonb_build_object('id', d.id, 'name', d.name, 'site', i.name, 'status', t.status, 'liveness', t.liveness,"       \
    " 'hardware', d.hardware, 'agent_version', d.agent_version, 'last_seen', ms(l.last_seen),"                         \
    " 'margin_c', l.margin_c, 'throttled', coalesce(l.throttled, false),"                                              \
    " 'slots', (SELECT coalesce(jsonb_agg(" SLOT_JSON " ORDER BY s.slot), '[]') FROM " SLOTS_FROM                      \
    "           WHERE s.device_id = d.id),"                                                                            \
    " 'alerts_firing', (SELECT count(*) FROM alert a WHERE a.device_id = d.id AND a.state = 'firing'))"

enum err device_list(struct db *db, const struct selector *sel, int64_t limit, const char *after, char **ret_json,
                     struct err_info *info)
{
    json_auto_t *terms = NULL;
    cleanup_rows struct rows *rows = NULL;
    enum err e = terms_of(sel, &terms);
    if (e == ERR_OK)
        e = records_query(db,
                          "WITH " MATCHING ","
                          " ahead AS (SELECT id, name FROM matching WHERE $3::text IS NULL OR name > $3::text"
                          "           ORDER BY name LIMIT $2::bigint + 1),"
                          " page AS (SELECT id, name FROM ahead ORDER BY name LIMIT $2::bigint)"
                          " SELECT jsonb_build_object("
                          "  'devices', (SELECT coalesce(jsonb_agg(" DEVICE_ROW_JSON " ORDER BY d.name), '[]')"
                          "    FROM page p JOIN device d ON d.id = p.id JOIN site i ON i.id = d.site_id"
                          "    LEFT JOIN liveness l ON l.device_id = d.id"
                          "    JOIN LATERAL (SELECT * FROM device_state x WHERE x.device_id = p.id) t ON true),"
                          "  'total', (SELECT count(*) FROM matching),"
                          "  'next', CASE WHEN (SELECT count(*) FROM ahead) > $2::bigint"
                          "          THEN (SELECT max(name) FROM page) END,"
                          "  'as_of', ms(now()))",
                          terms, DB_ARGS(db_i64(limit), db_text(after)), &rows, info);
    if (e != ERR_OK)
        return e;
    char *json = strdup(rows_text(rows, 0, 0));
    if (json == NULL)
        return ERR_NO_MEMORY;
    *ret_json = json;
    return ERR_OK;
}

/* One sentence for each cause of device_state; facts of d, t, l, ago (how long it has been quiet) and u (the slot whose
 * update is the cause). */
#define WHY                                                                                                            \
    "CASE t.cause"                                                                                                     \
    " WHEN 'never_seen' THEN 'It is enrolled, but has not connected yet.'"                                             \
    " WHEN 'gone' THEN format('Its connection broke %s ago and it has not come back.', ago.text)"                      \
    " WHEN 'silent' THEN format('No beat for %s; one is due every %s s.', ago.text, l.beat_s)"                         \
    " WHEN 'late' THEN format('The last beat came %s ago; one is due every %s s.', ago.text, l.beat_s)"                \
    " WHEN 'throttled' THEN 'The hardware slows itself down'"                                                          \
    "   || coalesce(format('; it is %s °C from its limit', l.margin_c), '') || '.'"                                   \
    " WHEN 'held' THEN format('%s is staged and waits%s.', u.what,"                                                    \
    "   (SELECT format(': held by %s (%s)', h.owner, h.reason) FROM hold h"                                            \
    "    WHERE h.device_id = d.id AND h.released_at IS NULL ORDER BY h.since LIMIT 1))"                                \
    " WHEN 'updating' THEN format('%s is %s%s.', u.what,"                                                              \
    "   CASE u.phase WHEN 'probation' THEN 'on probation' ELSE u.phase END,"                                           \
    "   CASE u.phase WHEN 'downloading' THEN format(', %s %%', u.progress) END)"                                       \
    " WHEN 'update_failed' THEN format('The update to %s failed%s: %s.', u.what, ' at ' || u.stage,"                   \
    "   coalesce(rtrim(u.detail, '.'), u.code, 'no reason given'))"                                                    \
    " WHEN 'healthy' THEN 'Beats arrive in time and nothing is wrong.'"                                                \
    " ELSE (SELECT format('Alert firing: %s.', string_agg(r.kind, ', ' ORDER BY r.severity, r.kind))"                  \
    "       FROM alert a JOIN alert_rule r ON r.id = a.rule_id WHERE a.device_id = d.id AND a.state = 'firing')"       \
    " END"

static const char *const show_sql =
    "SELECT " DEVICE_ROW_JSON " || jsonb_build_object('why', " WHY ","
    "  'tags', to_jsonb(d.tags), 'inventory', d.inventory, 'enrolled_at', ms(d.enrolled_at),"
    "  'session', coalesce(l.session, 0)::text, 'boot_id', coalesce(l.boot_id, ''),"
    "  'uptime_s', coalesce(l.uptime_s, 0), 'beat_s', coalesce(l.beat_s, 0),"
    "  'generation_desired', coalesce(w.generation, 0)::text, 'generation_seen', coalesce(l.generation, 0)::text,"
    "  'certificate', (SELECT jsonb_build_object('fingerprint', c.fingerprint, 'not_after', ms(c.not_after))"
    "     FROM device_certificate c WHERE c.device_id = d.id AND c.revoked_at IS NULL"
    "     ORDER BY c.not_after DESC LIMIT 1),"
    "  'holds', (SELECT coalesce(jsonb_agg(" HOLD_JSON_SQL " ORDER BY h.since), '[]') FROM hold h"
    "     WHERE h.device_id = d.id AND h.released_at IS NULL"
    "     AND (h.expires_at IS NULL OR h.expires_at > now() OR h.on_expiry = 'cancel')))"
    " FROM device d JOIN site i ON i.id = d.site_id JOIN device_state t ON t.device_id = d.id"
    " LEFT JOIN liveness l ON l.device_id = d.id LEFT JOIN desired w ON w.device_id = d.id"
    " CROSS JOIN LATERAL (SELECT extract(epoch FROM now() -"
    "     CASE t.cause WHEN 'gone' THEN l.gone_at ELSE l.last_seen END)::bigint AS s) quiet"
    " CROSS JOIN LATERAL (SELECT CASE WHEN quiet.s < 120 THEN quiet.s || ' s'"
    "     WHEN quiet.s < 7200 THEN quiet.s / 60 || ' min' WHEN quiet.s < 172800 THEN quiet.s / 3600 || ' h'"
    "     ELSE quiet.s / 86400 || ' days' END AS text) ago"
    " LEFT JOIN LATERAL (SELECT s.*, s.slot || ' ' || coalesce(b.version, left(s.target, 12), '') AS what"
    "     FROM device_slot s LEFT JOIN bundle b ON b.id = s.target WHERE s.device_id = d.id AND CASE t.cause"
    "       WHEN 'held' THEN s.phase = 'held' WHEN 'update_failed' THEN s.phase = 'failed'"
    "       WHEN 'updating' THEN s.phase IN ('downloading', 'verifying', 'testing', 'staged', 'switching', "
    "'probation') END"
    "     ORDER BY s.slot LIMIT 1) u ON true"
    " WHERE d.id = $1::text";

enum err device_show(struct db *db, const char *device_id, char **ret_json, struct err_info *info)
{
    return db_query_text(db, show_sql, DB_ARGS(db_text(device_id)), ret_json, info);
}

enum err device_inventory_set(struct db *db, const char *device_id, const json_t *item, struct err_info *info)
{
    struct item_inventory inventory;
    enum err e = item_inventory_parse(item, &inventory, info);
    json_auto_t *content = e == ERR_OK ? json_copy((json_t *)item) : NULL;
    if (content != NULL) {
        (void)json_object_del(content, "kind");
        (void)json_object_del(content, "t");
    }
    cleanup_free char *text = content == NULL ? NULL : json_dumps(content, JSON_COMPACT | JSON_SORT_KEYS);
    if (e == ERR_OK && text == NULL)
        e = ERR_NO_MEMORY;
    char sha256[SHA256_HEX];
    if (e == ERR_OK)
        e = sha256_hex(text, strlen(text), sha256);
    if (e != ERR_OK)
        return e;
    return db_exec(db,
                   "UPDATE device SET inventory = $2::jsonb, inventory_sha256 = $3::text, agent_version = $4::text,"
                   " hardware = coalesce(nullif($5::text, ''), hardware)"
                   " WHERE id = $1::text AND inventory_sha256 <> $3::text",
                   DB_ARGS(db_text(device_id), db_text(text), db_text(sha256), db_text(inventory.agent_version),
                           db_text(inventory.hardware)),
                   NULL, info);
}
