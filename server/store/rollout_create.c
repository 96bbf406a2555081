#include "server/store/rollout_create.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/json.h"
#include "server/core/assignment.h"
#include "server/core/rollout.h"
#include "server/store/assignment.h"
#include "server/store/event.h"
#include "server/store/records.h"
#include "server/store/rollout_move.h"
#include "server/store/rollout_step.h"

#include <inttypes.h>
#include <stdio.h>

enum { SUPERSEDED_TEXT_MAX = 4096 };

/* One creation at a time for a slot: the newest is then really the newest. */
static enum err lock_slot(struct db *db, const struct rollout_targets *t, struct err_info *info)
{
    return db_query(db, "SELECT pg_advisory_xact_lock(hashtext('muster slot'), hashtext($1::text))",
                    DB_ARGS(db_text(target_slot(t))), NULL, info);
}

/* The plan as asked for, kept with the rollout. */
static enum err plan_column(const struct rollout_request *request, char **ret_text)
{
    json_auto_t *waves = json_array();
    for (size_t i = 0; i < request->wave_count; i++) {
        const struct plan_wave *w = &request->waves[i];
        json_t *wave =
            json_pack("{s:I, s:I}", "soak_s", (json_int_t)w->soak_s, "max_failures", (json_int_t)w->max_failures);
        int failed = w->devices > 0 ? json_object_set_new(wave, "devices", json_integer(w->devices))
                                    : json_object_set_new(wave, "percent", json_real(w->percent));
        enum err e = records_add(waves, wave);
        if (e != ERR_OK || failed != 0)
            return ERR_NO_MEMORY;
    }
    json_auto_t *plan = json_pack("{s:O, s:I, s:O?}", "waves", waves, "probation_s", (json_int_t)request->probation_s,
                                  "canaries", request->canaries);
    return json_print(plan, ret_text, NULL);
}

static enum err insert_rollout(struct db *db, const struct rollout_request *request, const struct rollout_targets *t,
                               const char *actor, int64_t *ret_id, struct err_info *info)
{
    cleanup_free char *plan = NULL;
    cleanup_rows struct rows *rows = NULL;
    enum err e = plan_column(request, &plan);
    if (e == ERR_OK)
        e = db_query(db,
                     "INSERT INTO rollout (slot, bundle_id, selector, plan, state, created_by)"
                     " VALUES ($1::text, $2::text, $3::text, $4::jsonb, 'running', $5::text) RETURNING id",
                     DB_ARGS(db_text(target_slot(t)), db_text(target_bundle_id(t)),
                             db_text(request->q == NULL ? "all" : request->q), db_text(plan), db_text(actor)),
                     &rows, info);
    if (e == ERR_OK)
        *ret_id = rows_i64(rows, 0, 0);
    return e;
}

static enum err supersede_one(struct db *db, int64_t older, int64_t newer, const struct rollout_targets *t,
                              const char *actor, struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    enum rollout_state from = ROLLOUT_DRAFT;
    enum rollout_state to = ROLLOUT_DRAFT;
    enum err e = db_query(db,
                          "UPDATE rollout SET superseded_by = $2::bigint WHERE id = $1::bigint"
                          " AND state IN ('running', 'paused') RETURNING state",
                          DB_ARGS(db_i64(older), db_i64(newer)), &rows, info);
    if (e != ERR_OK || rows_count(rows) == 0)
        return e; /* it has come to an end meanwhile */
    if (!rollout_parse(rows_text(rows, 0, 0), &from) || !rollout_next(from, ROLLOUT_EVENT_ABORT, &to))
        return err_set(info, ERR_INTERNAL, "rollout %" PRId64 " cannot be superseded", older);
    char reason[ROLLOUT_REASON_MAX];
    (void)snprintf(reason, sizeof reason, "Superseded by rollout %" PRId64 " (%.80s %.80s).", newer, target_slot(t),
                   target_version(t));
    e = rollout_move(db, older, from, to, reason, actor, info);
    struct rollout_step step;
    return e == ERR_OK ? rollout_step(db, older, actor, &step, info) : e;
}

/* Writes "; supersedes rollout 3 and 4" for the new one's reason. */
static enum err supersede_all(struct db *db, const struct rows *older, int64_t newer, const struct rollout_targets *t,
                              const char *actor, struct buf *say, struct err_info *info)
{
    enum err e = ERR_OK;
    for (size_t i = 0; e == ERR_OK && i < rows_count(older); i++) {
        e = supersede_one(db, rows_i64(older, i, 0), newer, t, actor, info);
        if (e == ERR_OK)
            e = buf_addf(say, "%s %s", i == 0 ? "; supersedes rollout" : " and", rows_text(older, i, 0));
    }
    return e;
}

static enum err insert_waves(struct db *db, int64_t id, const struct rollout_targets *t, struct err_info *info)
{
    enum err e = ERR_OK;
    for (size_t i = 0; e == ERR_OK && i < t->wave_count; i++)
        e = db_exec(
            db,
            "INSERT INTO wave (rollout_id, n, soak_s, max_failures)"
            " VALUES ($1::bigint, $2::integer, $3::integer, $4::integer)",
            DB_ARGS(db_i64(id), db_i64((int64_t)i + 1), db_i64(t->waves[i].soak_s), db_i64(t->waves[i].max_failures)),
            NULL, info);
    return e;
}

static enum err add_assignment(json_t *records, const struct rollout_targets *t, size_t row, int wave,
                               enum assignment_state state)
{
    const char *previous =
        rows_null(t->standing, row, TARGET_PREVIOUS) ? NULL : rows_text(t->standing, row, TARGET_PREVIOUS);
    return records_add(records, json_pack("{s:s, s:i, s:s, s:s?}", "device", rows_text(t->devices, row, DEVICE_ID),
                                          "wave", wave, "state", assignment_name(state), "previous", previous));
}

/* Devices that run it already take part too: a rollback is about them as well. */
static enum err insert_assignments(struct db *db, int64_t id, const struct rollout_targets *t, struct err_info *info)
{
    json_auto_t *records = json_array();
    enum err e = ERR_OK;
    for (size_t i = 0; e == ERR_OK && i < t->chosen_count; i++)
        e = add_assignment(records, t, t->chosen[i].row, t->chosen[i].wave, ASSIGNMENT_WAITING);
    for (size_t i = 0; e == ERR_OK && i < rows_count(t->standing); i++)
        if (rows_flag(t->standing, i, TARGET_ALREADY))
            e = add_assignment(records, t, i, 1, ASSIGNMENT_ALREADY_RUNNING);
    return e == ERR_OK ? assignment_add_many(db, id, records, info) : e;
}

static enum err tell_created(struct db *db, int64_t id, const struct rollout_targets *t, const char *superseded,
                             const char *actor, struct err_info *info)
{
    cleanup_buf struct buf text = BUF_INIT(SUPERSEDED_TEXT_MAX + ROLLOUT_REASON_MAX);
    enum err e = buf_addf(&text, "%zu %s in %zu %s%s.", t->chosen_count, t->chosen_count == 1 ? "device" : "devices",
                          t->wave_count, t->wave_count == 1 ? "wave" : "waves", superseded);
    const char *reason = text.data;
    if (e == ERR_OK)
        e = db_exec(db, "UPDATE rollout SET reason = $2::text WHERE id = $1::bigint",
                    DB_ARGS(db_i64(id), db_text(reason)), NULL, info);
    if (e != ERR_OK)
        return e;
    json_auto_t *data =
        json_pack("{s:s, s:s, s:s, s:s, s:s}", "from", rollout_name(ROLLOUT_DRAFT), "to", rollout_name(ROLLOUT_RUNNING),
                  "reason", reason, "slot", target_slot(t), "version", target_version(t));
    if (data == NULL)
        return ERR_NO_MEMORY;
    const struct event_entry event = {.kind = "rollout.state", .actor = actor, .rollout_id = id, .data = data};
    return event_add(db, &event, info);
}

static enum err create(struct db *db, const struct rollout_request *request, struct rollout_targets *t,
                       const char *actor, int64_t *ret_id, struct err_info *info)
{
    cleanup_rows struct rows *older = NULL;
    cleanup_buf struct buf superseded = BUF_INIT(SUPERSEDED_TEXT_MAX);
    enum err e = lock_slot(db, t, info);
    if (e == ERR_OK)
        e = rollout_targets_older(db, t, &older, info);
    if (e == ERR_OK)
        e = insert_rollout(db, request, t, actor, ret_id, info);
    if (e == ERR_OK) /* before it is read what devices are meant to run: superseding changes that */
        e = supersede_all(db, older, *ret_id, t, actor, &superseded, info);
    if (e == ERR_OK)
        e = rollout_targets_choose(db, request, t, info);
    if (e == ERR_OK)
        e = insert_waves(db, *ret_id, t, info);
    if (e == ERR_OK)
        e = insert_assignments(db, *ret_id, t, info);
    if (e == ERR_OK)
        e = tell_created(db, *ret_id, t, superseded.data == NULL ? "" : superseded.data, actor, info);
    struct rollout_step step;
    return e == ERR_OK ? rollout_step(db, *ret_id, actor, &step, info) : e;
}

enum err rollout_create(struct db *db, const struct rollout_request *request, const char *actor, int64_t *ret_id,
                        struct err_info *info)
{
    cleanup_rollout_targets struct rollout_targets t = {0};
    int64_t id = 0;
    enum err e = rollout_targets_find(db, request, &t, info);
    if (e == ERR_OK)
        e = create(db, request, &t, actor, &id, info);
    if (e == ERR_OK)
        *ret_id = id;
    return e;
}
