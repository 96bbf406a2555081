#include "server/store/rollout_step.h"

#include "common/base/text.h"
#include "server/core/decide.h"
#include "server/core/plan.h"
#include "server/store/assignment.h"
#include "server/store/rollout_move.h"

#include <inttypes.h>

/* Everything one step reads; the rows are what the facts borrow from. */
struct step {
    struct rows *rollout;
    struct rows *waves;
    struct rows *counts;
    struct wave_fact wave_facts[PLAN_WAVES_MAX];
    struct assignment_facts devices;
    struct rollout_facts facts;
};

static void step_free(struct step *s)
{
    rows_free(s->rollout);
    rows_free(s->waves);
    rows_free(s->counts);
    assignment_facts_free(&s->devices);
}

static enum err unknown_state(struct err_info *info)
{
    return err_set(info, ERR_INTERNAL, "the database has a state that this server does not know");
}

static enum err read_rollout(struct db *db, int64_t rollout_id, struct step *s, struct err_info *info)
{
    enum err e = db_query(db,
                          "SELECT state, superseded_by IS NOT NULL, ms(clock_timestamp()) FROM rollout"
                          " WHERE id = $1::bigint FOR UPDATE",
                          DB_ARGS(db_i64(rollout_id)), &s->rollout, info);
    if (e != ERR_OK)
        return e;
    if (rows_count(s->rollout) == 0)
        return err_code(info, ERR_NOT_FOUND, "rollout_not_found", "there is no rollout %" PRId64, rollout_id);
    if (!rollout_parse(rows_text(s->rollout, 0, 0), &s->facts.state))
        return unknown_state(info);
    s->facts.superseded = rows_flag(s->rollout, 0, 1);
    s->facts.now_ms = rows_i64(s->rollout, 0, 2);
    return ERR_OK;
}

/* The first failure is the first that nobody has accepted yet. */
static enum err read_waves(struct db *db, int64_t rollout_id, struct step *s, struct err_info *info)
{
    enum err e = db_query(
        db,
        "SELECT w.state, ms(w.state_since), w.soak_s, w.max_failures, w.accepted,"
        " (SELECT d.name || ' in ' || coalesce(a.stage, 'an unknown step') || ', ' || coalesce(a.code, 'unknown')"
        "         || coalesce(': ' || nullif(a.detail, ''), '')"
        "  FROM assignment a JOIN device d ON d.id = a.device_id WHERE a.rollout_id = w.rollout_id AND a.wave = w.n"
        "    AND a.state IN ('failed', 'rejected', 'timed_out')"
        "  ORDER BY a.state_since, d.name OFFSET w.accepted LIMIT 1)"
        " FROM wave w WHERE w.rollout_id = $1::bigint ORDER BY w.n",
        DB_ARGS(db_i64(rollout_id)), &s->waves, info);
    if (e != ERR_OK)
        return e;
    size_t count = rows_count(s->waves);
    if (count > PLAN_WAVES_MAX)
        return err_set(info, ERR_INTERNAL, "rollout %" PRId64 " has %zu waves", rollout_id, count);
    for (size_t i = 0; i < count; i++) {
        struct wave_fact *fact = &s->wave_facts[i];
        if (!wave_parse(rows_text(s->waves, i, 0), &fact->state))
            return unknown_state(info);
        fact->since_ms = rows_i64(s->waves, i, 1);
        fact->soak_s = rows_i64(s->waves, i, 2);
        fact->max_failures = rows_i64(s->waves, i, 3);
        fact->accepted = rows_i64(s->waves, i, 4);
        fact->first_failure = rows_null(s->waves, i, 5) ? NULL : rows_text(s->waves, i, 5);
    }
    s->facts.waves = s->wave_facts;
    s->facts.wave_count = count;
    return ERR_OK;
}

static enum err read_counts(struct db *db, int64_t rollout_id, struct step *s, struct err_info *info)
{
    enum err e =
        db_query(db, "SELECT wave, state, count(*) FROM assignment WHERE rollout_id = $1::bigint GROUP BY 1, 2",
                 DB_ARGS(db_i64(rollout_id)), &s->counts, info);
    for (size_t i = 0; e == ERR_OK && i < rows_count(s->counts); i++) {
        enum assignment_state state;
        size_t wave = (size_t)rows_i64(s->counts, i, 0);
        if (!assignment_parse(rows_text(s->counts, i, 1), &state))
            return unknown_state(info);
        if (wave < 1 || wave > s->facts.wave_count)
            return err_set(info, ERR_INTERNAL, "rollout %" PRId64 " has no wave %zu", rollout_id, wave);
        s->wave_facts[wave - 1].count[state] = rows_i64(s->counts, i, 2);
    }
    return e;
}

static enum err step_read(struct db *db, int64_t rollout_id, struct step *s, struct err_info *info)
{
    enum err e = read_rollout(db, rollout_id, s, info);
    if (e == ERR_OK)
        e = read_waves(db, rollout_id, s, info);
    if (e == ERR_OK)
        e = read_counts(db, rollout_id, s, info);
    if (e == ERR_OK)
        e = assignment_facts_read(db, rollout_id, &s->devices, info);
    s->facts.devices = s->devices.devices;
    s->facts.device_count = s->devices.count;
    return e;
}

enum err rollout_step(struct db *db, int64_t rollout_id, const char *actor, struct rollout_step *ret_step,
                      struct err_info *info)
{
    [[gnu::cleanup(step_free)]] struct step s = {0};
    enum err e = step_read(db, rollout_id, &s, info);
    if (e != ERR_OK)
        return e;
    cleanup_decisions struct decisions decisions = {0};
    e = rollout_decide(&s.facts, &decisions);
    if (e == ERR_OK)
        e = assignment_decide(db, rollout_id, &s.devices, &decisions, actor, info);
    for (size_t i = 0; e == ERR_OK && i < decisions.wave_count; i++)
        e = wave_move(db, rollout_id, &decisions.waves[i], actor, info);
    if (e == ERR_OK && decisions.moves)
        e = rollout_move(db, rollout_id, s.facts.state, decisions.to, decisions.reason, actor, info);
    if (e != ERR_OK)
        return e;
    *ret_step = (struct rollout_step){
        .changed = decisions.device_count > 0 || decisions.wave_count > 0 || decisions.moves,
        .moved = decisions.moves,
        .state = decisions.moves ? decisions.to : s.facts.state,
    };
    return ERR_OK;
}

enum err rollout_due(struct db *db, struct rows **ret_rows, struct err_info *info)
{
    /* Of a rollout that is over, only devices that have answered since are worth a look. */
    return db_query(db,
                    "SELECT id FROM rollout WHERE state IN ('running', 'paused', 'rolling_back')"
                    " UNION SELECT r.id FROM rollout r JOIN assignment a ON a.rollout_id = r.id"
                    " JOIN device_slot s ON s.device_id = a.device_id AND s.slot = r.slot"
                    " WHERE r.state IN ('aborted', 'rolled_back') AND s.generation >= coalesce(a.generation, 0)"
                    " AND (a.state IN ('waiting', 'offered', 'downloading', 'staged', 'held', 'applying', 'probation')"
                    "      OR (r.state = 'rolled_back' AND a.state IN ('succeeded', 'already_running')))"
                    " ORDER BY 1",
                    DB_NO_ARGS, ret_rows, info);
}
