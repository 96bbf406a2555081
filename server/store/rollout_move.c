#include "server/store/rollout_move.h"

#include "server/store/event.h"

static enum err tell(struct db *db, const char *kind, int64_t rollout_id, int wave, const char *actor, const char *from,
                     const char *to, const char *reason, struct err_info *info)
{
    json_auto_t *data = json_pack("{s:s, s:s, s:s}", "from", from, "to", to, "reason", reason);
    if (data == NULL)
        return ERR_NO_MEMORY;
    const struct event_entry event = {
        .kind = kind, .actor = actor, .rollout_id = rollout_id, .wave = wave, .data = data};
    return event_add(db, &event, info);
}

static enum err one_row(int64_t changed, const char *what, struct err_info *info)
{
    return changed == 1 ? ERR_OK : err_code(info, ERR_CONFLICT, "state_changed", "%s is not as it was any more", what);
}

enum err wave_move(struct db *db, int64_t rollout_id, const struct wave_decision *move, const char *actor,
                   struct err_info *info)
{
    int64_t changed = 0;
    const char *from = wave_name(move->from);
    const char *to = wave_name(move->to);
    enum err e = db_exec(db,
                         "UPDATE wave SET state = $4::text, state_since = now()"
                         " WHERE rollout_id = $1::bigint AND n = $2::integer AND state = $3::text",
                         DB_ARGS(db_i64(rollout_id), db_i64(move->wave), db_text(from), db_text(to)), &changed, info);
    if (e == ERR_OK)
        e = one_row(changed, "the wave", info);
    if (e == ERR_OK)
        e = tell(db, "wave.state", rollout_id, move->wave, actor, from, to, move->reason, info);
    return e;
}

enum err rollout_move(struct db *db, int64_t rollout_id, enum rollout_state from, enum rollout_state to,
                      const char *reason, const char *actor, struct err_info *info)
{
    int64_t changed = 0;
    enum err e =
        db_exec(db,
                "UPDATE rollout SET state = $3::text, state_since = now(), reason = $4::text,"
                " finished_at = CASE WHEN $3::text IN ('completed', 'aborted', 'rolled_back') THEN now() END"
                " WHERE id = $1::bigint AND state = $2::text",
                DB_ARGS(db_i64(rollout_id), db_text(rollout_name(from)), db_text(rollout_name(to)), db_text(reason)),
                &changed, info);
    if (e == ERR_OK)
        e = one_row(changed, "the rollout", info);
    if (e == ERR_OK)
        e = tell(db, "rollout.state", rollout_id, 0, actor, rollout_name(from), rollout_name(to), reason, info);
    return e;
}
