#include "server/store/rollout.h"

#include "common/base/json.h"
#include "server/store/rollout_move.h"
#include "server/store/rollout_step.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { ROLLOUT_JSON_MAX = 1024 * 1024 };

static enum err not_found(int64_t rollout_id, struct err_info *info)
{
    enum err e = err_code(info, ERR_NOT_FOUND, "rollout_not_found", "there is no rollout %" PRId64, rollout_id);
    err_next(info, "GET /api/v1/rollouts lists them.");
    return e;
}

/* ---------------------------------------------------------------- what may be done */

/* Columns for a row r: state, newest open rollout of the slot after it, devices meant to run its bundle. */
#define SITUATION_SQL                                                                                                  \
    " r.state, (SELECT max(n.id) FROM rollout n WHERE n.slot = r.slot AND n.id > r.id"                                 \
    "           AND n.state IN ('running', 'paused', 'rolling_back')),"                                                \
    " (SELECT count(*) FROM assignment a JOIN desired_slot w ON w.device_id = a.device_id AND w.slot = r.slot"         \
    "  WHERE a.rollout_id = r.id AND a.state NOT IN ('waiting', 'cancelled', 'superseded', 'rolled_back')"             \
    "    AND w.bundle_id = r.bundle_id AND coalesce(w.rollout_id <= r.id, true))"

static enum err situation_of(const struct rows *rows, size_t row, int column, struct rollout_situation *ret_situation,
                             struct err_info *info)
{
    struct rollout_situation situation = {
        .newer_open = rows_i64(rows, row, column + 1),
        .wanted = rows_i64(rows, row, column + 2),
    };
    if (!rollout_parse(rows_text(rows, row, column), &situation.state))
        return err_set(info, ERR_INTERNAL, "the database has a state that this server does not know");
    *ret_situation = situation;
    return ERR_OK;
}

static json_t *actions_json(const struct rollout_situation *situation)
{
    json_t *actions = json_object();
    int failed = actions == NULL;
    for (int i = 0; i < ROLLOUT_ACTIONS_; i++) {
        enum rollout_action action = (enum rollout_action)i;
        char reason[ROLLOUT_REASON_MAX];
        bool allowed = rollout_may(situation, action, reason);
        failed |=
            json_object_set_new(actions, rollout_action_name(action),
                                json_pack("{s:b, s:s?}", "allowed", (int)allowed, "reason", allowed ? NULL : reason));
    }
    if (failed == 0)
        return actions;
    json_decref(actions);
    return NULL;
}

/* ---------------------------------------------------------------- reading */

/* Column 0: the Rollout without its actions; then those of SITUATION_SQL. */
#define ROLLOUT_SQL                                                                                                    \
    "SELECT jsonb_build_object('id', r.id::text, 'slot', r.slot, 'bundle', r.bundle_id, 'version', b.version,"         \
    "   'selector', r.selector, 'state', r.state, 'state_since', ms(r.state_since), 'reason', r.reason,"               \
    "   'created_by', r.created_by, 'created_at', ms(r.created_at), 'finished_at', ms(r.finished_at),"                 \
    "   'devices', (SELECT count(*) FROM assignment a WHERE a.rollout_id = r.id),"                                     \
    "   'counts', (SELECT coalesce(jsonb_object_agg(c.state, c.n), '{}') FROM (SELECT a.state, count(*) AS n"          \
    "              FROM assignment a WHERE a.rollout_id = r.id GROUP BY 1) c),"                                        \
    "   'on_bundle', (SELECT count(*) FROM assignment a JOIN device_slot s ON s.device_id = a.device_id"               \
    "                 WHERE a.rollout_id = r.id AND s.slot = r.slot AND s.running = r.bundle_id),"                     \
    "   'waves', (SELECT coalesce(jsonb_agg(jsonb_build_object('n', w.n, 'state', w.state,"                            \
    "               'state_since', ms(w.state_since), 'soak_s', w.soak_s, 'max_failures', w.max_failures,"             \
    "               'devices', coalesce(c.devices, 0), 'counts', coalesce(c.counts, '{}')) ORDER BY w.n), '[]')"       \
    "      FROM wave w LEFT JOIN (SELECT g.wave, sum(g.n)::bigint AS devices, jsonb_object_agg(g.state, g.n) AS "      \
    "counts"                                                                                                           \
    "          FROM (SELECT a.wave, a.state, count(*) AS n FROM assignment a WHERE a.rollout_id = r.id GROUP BY 1, "   \
    "2) g"                                                                                                             \
    "          GROUP BY g.wave) c ON c.wave = w.n"                                                                     \
    "      WHERE w.rollout_id = r.id))," SITUATION_SQL " FROM rollout r JOIN bundle b ON b.id = r.bundle_id"

static enum err rollout_json(const struct rows *rows, size_t row, json_t **ret_json, struct err_info *info)
{
    struct rollout_situation situation;
    json_auto_t *json = NULL;
    const char *text = rows_text(rows, row, 0);
    enum err e = situation_of(rows, row, 1, &situation, info);
    if (e == ERR_OK)
        e = json_parse(text, strlen(text), ROLLOUT_JSON_MAX, &json, info);
    if (e == ERR_OK && json_object_set_new(json, "actions", actions_json(&situation)) != 0)
        e = ERR_NO_MEMORY;
    if (e == ERR_OK)
        *ret_json = json_incref(json);
    return e;
}

enum err rollout_list(struct db *db, int64_t limit, int64_t before_id, char **ret_json, struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    enum err e =
        db_query(db, ROLLOUT_SQL " WHERE ($2::bigint = 0 OR r.id < $2::bigint) ORDER BY r.id DESC LIMIT $1::bigint",
                 DB_ARGS(db_i64(limit), db_i64(before_id)), &rows, info);
    if (e != ERR_OK)
        return e;
    json_auto_t *list = json_array();
    for (size_t i = 0; i < rows_count(rows); i++) {
        json_t *one = NULL;
        e = rollout_json(rows, i, &one, info);
        if (e == ERR_OK && json_array_append_new(list, one) != 0)
            e = ERR_NO_MEMORY;
        if (e != ERR_OK)
            return e;
    }
    json_auto_t *answer = json_pack("{s:O}", "rollouts", list);
    return json_print(answer, ret_json, NULL);
}

/* The Rollout as JSON, for answers and for the audit. */
static enum err rollout_get(struct db *db, int64_t rollout_id, json_t **ret_json, struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    enum err e = db_query(db, ROLLOUT_SQL " WHERE r.id = $1::bigint", DB_ARGS(db_i64(rollout_id)), &rows, info);
    if (e != ERR_OK)
        return e;
    return rows_count(rows) == 0 ? not_found(rollout_id, info) : rollout_json(rows, 0, ret_json, info);
}

enum err rollout_show(struct db *db, int64_t rollout_id, char **ret_json, struct err_info *info)
{
    json_auto_t *json = NULL;
    enum err e = rollout_get(db, rollout_id, &json, info);
    return e == ERR_OK ? json_print(json, ret_json, NULL) : e;
}

enum err rollout_exists(struct db *db, int64_t rollout_id, struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    enum err e = db_query(db, "SELECT FROM rollout WHERE id = $1::bigint", DB_ARGS(db_i64(rollout_id)), &rows, info);
    if (e == ERR_OK && rows_count(rows) == 0)
        e = not_found(rollout_id, info);
    return e;
}

/* ---------------------------------------------------------------- acting */

static enum err act_allowed(struct db *db, int64_t rollout_id, enum rollout_action action,
                            enum rollout_state *ret_state, struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    struct rollout_situation situation = {0};
    char why[ROLLOUT_REASON_MAX];
    enum err e = db_query(db, "SELECT" SITUATION_SQL " FROM rollout r WHERE r.id = $1::bigint FOR UPDATE OF r",
                          DB_ARGS(db_i64(rollout_id)), &rows, info);
    if (e == ERR_OK && rows_count(rows) == 0)
        e = not_found(rollout_id, info);
    if (e == ERR_OK)
        e = situation_of(rows, 0, 0, &situation, info);
    if (e != ERR_OK)
        return e;
    if (!rollout_may(&situation, action, why))
        return err_code(info, ERR_CONFLICT, "wrong_state", "%s", why);
    *ret_state = situation.state;
    return ERR_OK;
}

/* A person has seen why it paused and goes on: the failures so far are accepted. */
static enum err accept_failures(struct db *db, int64_t rollout_id, const char *actor, struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    enum err e = db_query(db,
                          "UPDATE wave w SET accepted = (SELECT count(*) FROM assignment a"
                          "   WHERE a.rollout_id = w.rollout_id AND a.wave = w.n"
                          "     AND a.state IN ('failed', 'rejected', 'timed_out'))"
                          " WHERE w.rollout_id = $1::bigint AND w.state IN ('failed', 'inconclusive')"
                          " RETURNING w.n, w.state, w.accepted",
                          DB_ARGS(db_i64(rollout_id)), &rows, info);
    for (size_t i = 0; e == ERR_OK && i < rows_count(rows); i++) {
        struct wave_decision move = {.wave = (int)rows_i64(rows, i, 0)};
        if (!wave_parse(rows_text(rows, i, 1), &move.from) ||
            (!wave_next(move.from, WAVE_EVENT_RETRY, &move.to) && !wave_next(move.from, WAVE_EVENT_ACCEPT, &move.to)))
            return err_set(info, ERR_INTERNAL, "wave %d cannot go on", move.wave);
        (void)snprintf(move.reason, sizeof move.reason, "%s goes on and accepts %s failed.", actor,
                       rows_text(rows, i, 2));
        e = wave_move(db, rollout_id, &move, actor, info);
    }
    return e;
}

enum err rollout_act(struct db *db, int64_t rollout_id, enum rollout_action action, const char *reason,
                     const char *actor, enum rollout_state *ret_from, enum rollout_state *ret_to, struct err_info *info)
{
    enum rollout_state from = ROLLOUT_DRAFT;
    enum rollout_state to = ROLLOUT_DRAFT;
    enum err e = act_allowed(db, rollout_id, action, &from, info);
    if (e != ERR_OK)
        return e;
    if (!rollout_next(from, rollout_action_event(action), &to))
        return err_set(info, ERR_INTERNAL, "rollout_may() and rollout_next() disagree");
    char asked[ROLLOUT_REASON_MAX];
    (void)snprintf(asked, sizeof asked, "%s asked to %s.", actor, rollout_action_name(action));
    if (action == ACTION_RESUME)
        e = accept_failures(db, rollout_id, actor, info);
    if (e == ERR_OK)
        e = rollout_move(db, rollout_id, from, to, reason[0] == '\0' ? asked : reason, actor, info);
    struct rollout_step step;
    if (e == ERR_OK)
        e = rollout_step(db, rollout_id, actor, &step, info);
    if (e != ERR_OK)
        return e;
    *ret_from = from;
    *ret_to = to;
    return ERR_OK;
}
