#include "server/store/assignment.h"

#include "common/base/text.h"
#include "server/store/desired.h"
#include "server/store/event.h"
#include "server/store/records.h"

#include <inttypes.h>
#include <stdlib.h>

/* Decisions written by one statement: the rollback of a whole fleet stays within the statement timeout. */
enum { BATCH_MAX = 5000 };

enum column {
    COL_DEVICE,
    COL_NAME,
    COL_WAVE,
    COL_STATE,
    COL_REACHABLE,
    COL_HOLD_CANCELS,
    COL_STRANDED,
    COL_HAS_PREVIOUS,
    COL_DESIRED,
    COL_OWNED,
    COL_CURRENT,
    COL_PHASE,
    COL_TARGET,
    COL_RUNNING,
    COL_STAGE,
    COL_CODE,
    COL_DETAIL,
    COL_DEVICE_LEFT
};

/* A bundle as enum which_bundle. */
#define WHICH(bundle)                                                                                                  \
    " CASE WHEN " bundle " IS NULL THEN 0 WHEN " bundle " = r.bundle_id THEN 1"                                        \
    "      WHEN " bundle " = a.previous_bundle THEN 2 ELSE 3 END"

/* Rows that nothing can move are left out, so that a large rollout costs little when nothing happens:
 * - running, paused: open ones of waves that have begun, and those that had the bundle and say something else now;
 * - aborted: open ones, and failures that are still asked to try;
 * - rolled back: all that have the bundle, or may have it. */
static const char facts_sql[] =
    "SELECT a.device_id, d.name, a.wave, a.state, coalesce(v.liveness IN ('online', 'late'), false),"
    " EXISTS (SELECT 1 FROM hold h WHERE h.device_id = a.device_id AND h.released_at IS NULL"
    "         AND h.expires_at <= now() AND h.on_expiry = 'cancel'),"
    " coalesce(a.device_left = 'unable_to_roll_back', false), a.previous_bundle IS NOT NULL," WHICH(
        "w.bundle_id") ", coalesce(w.rollout_id <= r.id, true),"
                       " coalesce(s.generation >= coalesce(a.generation, 0), false), coalesce(s.phase, "
                       "'empty')," WHICH("s.target") "," WHICH(
                           "s.running") ", s.stage, s.code, s.detail, s.device_left"
                                        " FROM rollout r JOIN assignment a ON a.rollout_id = r.id JOIN device d ON "
                                        "d.id = a.device_id"
                                        " JOIN wave n ON n.rollout_id = r.id AND n.n = a.wave"
                                        " LEFT JOIN device_state v ON v.device_id = a.device_id"
                                        " LEFT JOIN desired_slot w ON w.device_id = a.device_id AND w.slot = r.slot"
                                        " LEFT JOIN device_slot s ON s.device_id = a.device_id AND s.slot = r.slot"
                                        " WHERE r.id = $1::bigint AND CASE"
                                        "   WHEN a.state IN ('cancelled', 'superseded', 'rolled_back') THEN false"
                                        "   WHEN r.state IN ('running', 'paused') THEN CASE"
                                        "     WHEN a.state IN ('succeeded', 'already_running') THEN s.running <> "
                                        "r.bundle_id OR s.phase = 'failed'"
                                        "     ELSE a.state NOT IN ('failed', 'rejected', 'timed_out') AND n.state "
                                        "<> 'pending' END"
                                        "   WHEN r.state = 'aborted' THEN a.state NOT IN ('succeeded', "
                                        "'already_running')"
                                        "     AND (a.state NOT IN ('failed', 'rejected', 'timed_out') OR "
                                        "w.bundle_id = r.bundle_id)"
                                        "   ELSE true END"
                                        " ORDER BY a.wave, d.name";

static const char *text_or_null(const struct rows *rows, size_t row, int column)
{
    return rows_null(rows, row, column) ? NULL : rows_text(rows, row, column);
}

static enum err fact_of(const struct rows *rows, size_t row, struct device_fact *ret_fact, struct err_info *info)
{
    struct device_fact f = {
        .name = rows_text(rows, row, COL_NAME),
        .wave = (int)rows_i64(rows, row, COL_WAVE),
        .reachable = rows_flag(rows, row, COL_REACHABLE),
        .hold_cancels = rows_flag(rows, row, COL_HOLD_CANCELS),
        .stranded = rows_flag(rows, row, COL_STRANDED),
        .has_previous = rows_flag(rows, row, COL_HAS_PREVIOUS),
        .desired = (enum which_bundle)rows_i64(rows, row, COL_DESIRED),
        .owned = rows_flag(rows, row, COL_OWNED),
        .report = {.current = rows_flag(rows, row, COL_CURRENT),
                   .target = (enum which_bundle)rows_i64(rows, row, COL_TARGET),
                   .running = (enum which_bundle)rows_i64(rows, row, COL_RUNNING),
                   .stage = text_or_null(rows, row, COL_STAGE),
                   .code = text_or_null(rows, row, COL_CODE),
                   .detail = text_or_null(rows, row, COL_DETAIL),
                   .device_left = text_or_null(rows, row, COL_DEVICE_LEFT)},
    };
    if (!assignment_parse(rows_text(rows, row, COL_STATE), &f.state) ||
        !slot_phase_parse(rows_text(rows, row, COL_PHASE), &f.report.phase))
        return err_set(info, ERR_INTERNAL, "the database has a state that this server does not know");
    *ret_fact = f;
    return ERR_OK;
}

enum err assignment_facts_read(struct db *db, int64_t rollout_id, struct assignment_facts *ret_facts,
                               struct err_info *info)
{
    struct assignment_facts facts = {0};
    enum err e = db_query(db, facts_sql, DB_ARGS(db_i64(rollout_id)), &facts.rows, info);
    if (e != ERR_OK)
        return e;
    facts.count = rows_count(facts.rows);
    facts.devices = calloc(facts.count + 1, sizeof *facts.devices);
    if (facts.devices == NULL)
        e = ERR_NO_MEMORY;
    for (size_t i = 0; e == ERR_OK && i < facts.count; i++)
        e = fact_of(facts.rows, i, &facts.devices[i], info);
    if (e != ERR_OK) {
        assignment_facts_free(&facts);
        return e;
    }
    *ret_facts = facts;
    return ERR_OK;
}

void assignment_facts_free(struct assignment_facts *facts)
{
    rows_free(facts->rows);
    free(facts->devices);
    *facts = (struct assignment_facts){0};
}

/* ---------------------------------------------------------------- decisions */

/* Everything a batch of decisions becomes: who changes what. */
struct writing {
    json_t *offer, *back, *clear; /* device ids */
    json_t *moves;                /* records for the update of the assignments */
    int64_t move_count;
    struct event_entry *events;
    size_t event_count;
};

static void writing_free(struct writing *w)
{
    json_decref(w->offer);
    json_decref(w->back);
    json_decref(w->clear);
    json_decref(w->moves);
    for (size_t i = 0; i < w->event_count; i++)
        json_decref(w->events[i].data);
    free(w->events);
}

static enum err note_desired(struct writing *w, enum desired_change change, const char *device_id)
{
    json_t *const lists[] = {
        [DESIRED_KEEP] = NULL, [DESIRED_OFFER] = w->offer, [DESIRED_RETURN] = w->back, [DESIRED_CLEAR] = w->clear};
    return lists[change] == NULL ? ERR_OK : records_add(lists[change], json_string(device_id));
}

static enum err note_move(struct writing *w, const struct device_decision *made, const char *device_id)
{
    if (made->from == made->to)
        return ERR_OK;
    w->move_count++;
    return records_add(w->moves, json_pack("{s:s, s:s, s:s, s:s?, s:s?, s:s?, s:s?, s:b}", "device", device_id, "from",
                                           assignment_name(made->from), "to", assignment_name(made->to), "stage",
                                           made->stage, "code", made->code, "detail", made->detail, "left",
                                           made->device_left, "failure", (int)assignment_failure(made->to)));
}

/* A move tells from and to; when only the desired bundle changes, the device is called back. */
static enum err note_event(struct writing *w, const struct device_decision *made, const char *device_id, int wave,
                           int64_t rollout_id, const char *actor)
{
    bool moves = made->from != made->to;
    json_t *data = moves ? json_pack("{s:s, s:s, s:s, s:s*, s:s*, s:s*}", "from", assignment_name(made->from), "to",
                                     assignment_name(made->to), "reason", made->reason, "stage", made->stage, "code",
                                     made->code, "device_left", made->device_left)
                         : json_pack("{s:s, s:s}", "name", "recalled", "reason", made->reason);
    if (data == NULL)
        return ERR_NO_MEMORY;
    w->events[w->event_count++] = (struct event_entry){.kind = moves ? "assignment.state" : "assignment.recall",
                                                       .actor = actor,
                                                       .device_id = device_id,
                                                       .rollout_id = rollout_id,
                                                       .wave = wave,
                                                       .data = data};
    return ERR_OK;
}

static enum err writing_fill(struct writing *w, int64_t rollout_id, const struct assignment_facts *facts,
                             const struct device_decision *decisions, size_t count, const char *actor)
{
    w->offer = json_array();
    w->back = json_array();
    w->clear = json_array();
    w->moves = json_array();
    w->events = calloc(count, sizeof *w->events);
    if (w->offer == NULL || w->back == NULL || w->clear == NULL || w->moves == NULL || w->events == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < count; i++) {
        const struct device_decision *made = &decisions[i];
        const char *device_id = rows_text(facts->rows, made->device, COL_DEVICE);
        enum err e = note_desired(w, made->desired, device_id);
        if (e == ERR_OK)
            e = note_move(w, made, device_id);
        if (e == ERR_OK)
            e = note_event(w, made, device_id, facts->devices[made->device].wave, rollout_id, actor);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

/* What is kept about a failure goes when the device is offered the bundle again, and stays when it returns. */
static enum err moves_write(struct db *db, int64_t rollout_id, const struct writing *w, struct err_info *info)
{
    if (w->move_count == 0)
        return ERR_OK;
    cleanup_rows struct rows *rows = NULL;
    enum err e = records_query(
        db,
        "UPDATE assignment a SET state = m.\"to\", state_since = now(),"
        "   stage = CASE WHEN m.failure THEN m.stage WHEN m.\"to\" = 'rolled_back' THEN a.stage END,"
        "   code = CASE WHEN m.failure THEN m.code WHEN m.\"to\" = 'rolled_back' THEN a.code END,"
        "   detail = CASE WHEN m.failure THEN m.detail WHEN m.\"to\" = 'rolled_back' THEN a.detail END,"
        "   device_left = CASE WHEN m.failure THEN m.\"left\" END"
        " FROM jsonb_to_recordset($1::jsonb) AS m(device text, \"from\" text, \"to\" text, stage text, code text,"
        "                                         detail text, \"left\" text, failure boolean)"
        " WHERE a.rollout_id = $2::bigint AND a.device_id = m.device AND a.state = m.\"from\" RETURNING a.device_id",
        w->moves, DB_ARGS(db_i64(rollout_id)), &rows, info);
    if (e == ERR_OK && (int64_t)rows_count(rows) != w->move_count)
        e = err_code(info, ERR_CONFLICT, "state_changed", "%zu of %" PRId64 " assignments are still as they were",
                     rows_count(rows), w->move_count);
    return e;
}

static enum err decide_batch(struct db *db, int64_t rollout_id, const struct assignment_facts *facts,
                             const struct device_decision *decisions, size_t count, const char *actor,
                             struct err_info *info)
{
    [[gnu::cleanup(writing_free)]] struct writing w = {0};
    enum err e = writing_fill(&w, rollout_id, facts, decisions, count, actor);
    if (e == ERR_OK)
        e = moves_write(db, rollout_id, &w, info);
    if (e == ERR_OK)
        e = desired_offer(db, rollout_id, w.offer, info);
    if (e == ERR_OK)
        e = desired_return(db, rollout_id, w.back, info);
    if (e == ERR_OK)
        e = desired_clear(db, rollout_id, w.clear, info);
    return e == ERR_OK ? event_add_many(db, w.events, w.event_count, info) : e;
}

enum err assignment_decide(struct db *db, int64_t rollout_id, const struct assignment_facts *facts,
                           const struct decisions *decisions, const char *actor, struct err_info *info)
{
    enum err e = ERR_OK;
    for (size_t done = 0; e == ERR_OK && done < decisions->device_count; done += BATCH_MAX) {
        size_t left = decisions->device_count - done;
        e = decide_batch(db, rollout_id, facts, &decisions->devices[done], left < BATCH_MAX ? left : BATCH_MAX, actor,
                         info);
    }
    return e;
}

/* ---------------------------------------------------------------- the rest */

enum err assignment_add_many(struct db *db, int64_t rollout_id, const json_t *records, struct err_info *info)
{
    return records_query(db,
                         "INSERT INTO assignment (rollout_id, device_id, wave, state, previous_bundle)"
                         " SELECT $2::bigint, device, wave, state, previous FROM jsonb_to_recordset($1::jsonb)"
                         " AS x(device text, wave integer, state text, previous text)",
                         records, DB_ARGS(db_i64(rollout_id)), NULL, info);
}

enum err assignment_list(struct db *db, int64_t rollout_id, const char *state, char **ret_json, struct err_info *info)
{
    enum err e =
        db_query_text(db,
                      "SELECT jsonb_build_object('assignments', coalesce((SELECT jsonb_agg(jsonb_build_object("
                      "   'device', d.id, 'name', d.name, 'site', t.name, 'wave', a.wave, 'state', a.state,"
                      "   'state_since', ms(a.state_since), 'stage', a.stage, 'code', a.code, 'detail', a.detail,"
                      "   'device_left', a.device_left) ORDER BY a.wave, d.name)"
                      " FROM assignment a JOIN device d ON d.id = a.device_id JOIN site t ON t.id = d.site_id"
                      " WHERE a.rollout_id = r.id AND ($2::text IS NULL OR a.state = $2::text)), '[]'))"
                      " FROM rollout r WHERE r.id = $1::bigint",
                      DB_ARGS(db_i64(rollout_id), db_text(state)), ret_json, info);
    return e == ERR_NOT_FOUND ? err_code(info, e, "rollout_not_found", "there is no rollout %" PRId64, rollout_id) : e;
}
