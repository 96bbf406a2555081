#include "server/store/rollout_target.h"

#include "common/base/json.h"
#include "common/base/text.h"
#include "server/core/selector.h"
#include "server/store/bundle.h"
#include "server/store/device.h"
#include "server/store/records.h"

#include <stdlib.h>

enum { NAME_MAX_SHOWN = 120 };

void rollout_targets_free(struct rollout_targets *t)
{
    rows_free(t->bundle);
    rows_free(t->devices);
    json_decref(t->ids);
    free(t->canaries);
    rows_free(t->standing);
    free(t->chosen);
    *t = (struct rollout_targets){0};
}

const char *target_bundle_id(const struct rollout_targets *t)
{
    return rows_text(t->bundle, 0, 0);
}

const char *target_slot(const struct rollout_targets *t)
{
    return rows_text(t->bundle, 0, 1);
}

const char *target_version(const struct rollout_targets *t)
{
    return rows_text(t->bundle, 0, 2);
}

static enum err read_bundle(struct db *db, const struct rollout_request *request, struct rollout_targets *t,
                            struct err_info *info)
{
    char id[BUNDLE_ID_SIZE];
    enum err e = bundle_find(db, request->bundle, id, info);
    if (e == ERR_OK)
        e = db_query(db, "SELECT id, slot, version FROM bundle WHERE id = $1::text", DB_ARGS(db_text(id)), &t->bundle,
                     info);
    return e;
}

static enum err read_devices(struct db *db, const struct rollout_request *request, struct rollout_targets *t,
                             struct err_info *info)
{
    cleanup_selector struct selector *selector = NULL;
    enum err e = request->q == NULL ? ERR_OK : selector_parse(request->q, &selector, info);
    if (e == ERR_OK)
        e = device_select(db, selector, &t->devices, info);
    if (e != ERR_OK)
        return e;
    t->ids = json_array();
    for (size_t i = 0; e == ERR_OK && i < rows_count(t->devices); i++)
        e = records_add(t->ids, json_string(rows_text(t->devices, i, DEVICE_ID)));
    if (e != ERR_OK || rows_count(t->devices) > 0)
        return e;
    e = err_field(info, ERR_INVALID, request->q == NULL ? "all" : "q", "%s",
                  request->q == NULL ? "there is no device yet" : "no device matches this query");
    if (info != NULL)
        (void)text_copy(info->code, sizeof info->code, "no_devices");
    err_next(info, "GET /api/v1/devices?q=… shows what a query matches.");
    return e;
}

static enum err canary_error(struct err_info *info, const char *name, const char *what, const char *next)
{
    enum err e = err_field(info, ERR_INVALID, "canaries", "canary \"%.*s\": %s", NAME_MAX_SHOWN, name, what);
    err_next(info, "%s", next);
    return e;
}

/* Every canary is one of the devices. */
static enum err check_canaries(struct db *db, const struct rollout_targets *t, struct err_info *info)
{
    cleanup_rows struct rows *missing = NULL;
    enum err e = records_query(
        db,
        "SELECT c.name, EXISTS (SELECT 1 FROM device d WHERE (d.id = c.name OR d.name = c.name)"
        "                       AND d.retired_at IS NULL)"
        " FROM jsonb_array_elements_text($2::jsonb) WITH ORDINALITY c(name, n) WHERE NOT EXISTS (SELECT 1 FROM device d"
        " WHERE (d.id = c.name OR d.name = c.name) AND d.id IN (SELECT jsonb_array_elements_text($1::jsonb)))"
        " ORDER BY c.n LIMIT 1",
        t->ids, DB_ARGS(db_text(t->canaries)), &missing, info);
    if (e != ERR_OK || rows_count(missing) == 0)
        return e;
    return rows_flag(missing, 0, 1)
               ? canary_error(info, rows_text(missing, 0, 0), "the query does not match it",
                              "Widen the query, or leave this canary out.")
               : canary_error(info, rows_text(missing, 0, 0), "there is no such device",
                              "Name canaries by the id or the name that GET /api/v1/devices shows.");
}

static enum err read_canaries(struct db *db, const struct rollout_request *request, struct rollout_targets *t,
                              struct err_info *info)
{
    json_auto_t *none = json_array();
    enum err e = json_print(request->canaries == NULL ? none : request->canaries, &t->canaries, NULL);
    if (e == ERR_OK && request->canaries != NULL)
        e = check_canaries(db, t, info);
    return e;
}

enum err rollout_targets_find(struct db *db, const struct rollout_request *request, struct rollout_targets *t,
                              struct err_info *info)
{
    enum err e = plan_check(request->waves, request->wave_count, info);
    if (e == ERR_OK)
        e = read_bundle(db, request, t, info);
    if (e == ERR_OK)
        e = read_devices(db, request, t, info);
    return e == ERR_OK ? read_canaries(db, request, t, info) : e;
}

/* Where a rollback would go: what the device has committed, else what it was meant to run, else what it keeps. While it
 * switches or is on probation, `running` is not committed yet, and `previous` is. */
static const char standing_sql[] =
    "SELECT coalesce(s.running = $2::text AND s.phase = 'running' AND w.bundle_id = $2::text, false),"
    " (SELECT b.id FROM (VALUES (1, CASE WHEN s.phase NOT IN ('switching', 'probation') THEN s.running END),"
    "                           (2, CASE WHEN s.phase IN ('switching', 'probation') THEN s.previous END),"
    "                           (3, w.bundle_id), (4, s.previous)) v(k, id)"
    "  JOIN bundle b ON b.id = v.id WHERE b.slot = $3::text AND b.id <> $2::text ORDER BY v.k LIMIT 1),"
    " EXISTS (SELECT 1 FROM hold h WHERE h.device_id = d.id AND h.released_at IS NULL"
    "         AND (h.expires_at IS NULL OR h.expires_at > now())),"
    " d.id IN (SELECT jsonb_array_elements_text($4::jsonb)) OR d.name IN (SELECT jsonb_array_elements_text($4::jsonb))"
    " FROM jsonb_array_elements_text($1::jsonb) WITH ORDINALITY x(id, n) JOIN device d ON d.id = x.id"
    " LEFT JOIN device_slot s ON s.device_id = d.id AND s.slot = $3::text"
    " LEFT JOIN desired_slot w ON w.device_id = d.id AND w.slot = $3::text ORDER BY x.n";

static enum err read_standing(struct db *db, struct rollout_targets *t, struct err_info *info)
{
    enum err e = records_query(db, standing_sql, t->ids,
                               DB_ARGS(db_text(target_bundle_id(t)), db_text(target_slot(t)), db_text(t->canaries)),
                               &t->standing, info);
    if (e == ERR_OK && rows_count(t->standing) != rows_count(t->devices))
        e = err_code(info, ERR_CONFLICT, "state_changed", "the devices changed meanwhile; try again");
    return e;
}

/* A canary that runs the bundle already would prove nothing. */
static enum err check_standing(const struct rollout_targets *t, struct err_info *info)
{
    size_t already = 0;
    size_t all = rows_count(t->standing);
    for (size_t i = 0; i < all; i++) {
        if (!rows_flag(t->standing, i, TARGET_ALREADY))
            continue;
        already++;
        if (rows_flag(t->standing, i, TARGET_CANARY))
            return canary_error(info, rows_text(t->devices, i, DEVICE_NAME), "it runs this bundle already",
                                "Choose a device that does not: this one would prove nothing.");
    }
    if (already < all)
        return ERR_OK;
    enum err e = err_code(info, ERR_CONFLICT, "nothing_to_do", "every matching device (%zu) runs %s %s already", all,
                          target_slot(t), target_version(t));
    err_next(info, "Choose another bundle or other devices.");
    return e;
}

enum err rollout_targets_choose(struct db *db, const struct rollout_request *request, struct rollout_targets *t,
                                struct err_info *info)
{
    enum err e = read_standing(db, t, info);
    if (e == ERR_OK)
        e = check_standing(t, info);
    if (e != ERR_OK)
        return e;
    size_t all = rows_count(t->devices);
    t->chosen = calloc(all, sizeof *t->chosen);
    if (t->chosen == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < all; i++)
        if (!rows_flag(t->standing, i, TARGET_ALREADY))
            t->chosen[t->chosen_count++] = (struct plan_device){.id = rows_text(t->devices, i, DEVICE_ID),
                                                                .stratum = rows_text(t->devices, i, DEVICE_SITE),
                                                                .canary = rows_flag(t->standing, i, TARGET_CANARY),
                                                                .row = i};
    plan_make(target_bundle_id(t), t->chosen, t->chosen_count, request->waves, request->wave_count, t->waves,
              &t->wave_count);
    return ERR_OK;
}

enum err rollout_targets_older(struct db *db, const struct rollout_targets *t, struct rows **ret_rows,
                               struct err_info *info)
{
    return db_query(db,
                    "SELECT r.id, b.version, r.state FROM rollout r JOIN bundle b ON b.id = r.bundle_id"
                    " WHERE r.slot = $1::text AND r.state IN ('running', 'paused') ORDER BY r.id",
                    DB_ARGS(db_text(target_slot(t))), ret_rows, info);
}
