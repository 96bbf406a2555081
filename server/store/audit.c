#include "server/store/audit.h"

#include "common/base/cleanup.h"
#include "common/base/json.h"

static enum err value_print(const json_t *value, char **ret_text)
{
    return value == NULL ? ERR_OK : json_print(value, ret_text, NULL);
}

enum err audit_add(struct db *db, const struct audit_entry *entry, struct err_info *info)
{
    cleanup_free char *before = NULL;
    cleanup_free char *after = NULL;
    if (value_print(entry->before, &before) != ERR_OK || value_print(entry->after, &after) != ERR_OK)
        return ERR_NO_MEMORY;
    return db_exec(db,
                   "INSERT INTO audit (actor, action, target, address, request_id, before, after)"
                   " VALUES ($1::text, $2::text, $3::text, $4::text, $5::text, $6::jsonb, $7::jsonb)",
                   DB_ARGS(db_text(entry->actor), db_text(entry->action), db_text(entry->target),
                           db_text(entry->address), db_text(entry->request_id), db_text(before), db_text(after)),
                   NULL, info);
}

enum err audit_list(struct db *db, int64_t limit, int64_t before_id, char **ret_json, struct err_info *info)
{
    return db_query_text(
        db,
        "SELECT jsonb_build_object('entries', coalesce(jsonb_agg(jsonb_build_object("
        "'id', id::text, 't', ms(t), 'actor', actor, 'action', action, 'target', target, 'address', address,"
        " 'request_id', request_id, 'before', before, 'after', after) ORDER BY id DESC), '[]'))"
        " FROM (SELECT * FROM audit WHERE $2::bigint = 0 OR id < $2::bigint ORDER BY id DESC LIMIT $1::bigint) a",
        DB_ARGS(db_i64(limit), db_i64(before_id)), ret_json, info);
}
