#include "server/store/session.h"

#include "common/base/text.h"

enum err session_add(struct db *db, const uint8_t hash[SHA256_SIZE], int64_t account_id, const char *address,
                     struct session_limits limits, struct err_info *info)
{
    enum err e = db_exec(db,
                         "DELETE FROM session WHERE used_at < now() - make_interval(secs => $1::float8)"
                         " OR created_at < now() - make_interval(secs => $2::float8)",
                         DB_ARGS(db_i64(limits.idle_s), db_i64(limits.max_s)), NULL, info);
    if (e != ERR_OK)
        return e;
    return db_exec(db, "INSERT INTO session (hash, account_id, address) VALUES ($1::bytea, $2::bigint, $3::text)",
                   DB_ARGS(db_bytes(hash, SHA256_SIZE), db_i64(account_id), db_text(address)), NULL, info);
}

enum err session_find(struct db *db, const uint8_t hash[SHA256_SIZE], struct session_limits limits,
                      struct session_row *ret_row, struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    enum err e =
        db_query(db,
                 "SELECT a.name, a.role, s.used_at < now() - interval '1 min' FROM session s JOIN account a ON a.id = "
                 "s.account_id"
                 " WHERE s.hash = $1::bytea AND a.disabled_at IS NULL"
                 " AND s.used_at >= now() - make_interval(secs => $2::float8)"
                 " AND s.created_at >= now() - make_interval(secs => $3::float8)",
                 DB_ARGS(db_bytes(hash, SHA256_SIZE), db_i64(limits.idle_s), db_i64(limits.max_s)), &rows, info);
    if (e != ERR_OK)
        return e;
    if (rows_count(rows) == 0)
        return err_set(info, ERR_NOT_FOUND, "no such session");
    struct session_row row = {.use_due = rows_flag(rows, 0, 2)};
    (void)text_copy(row.account, sizeof row.account, rows_text(rows, 0, 0));
    e = access_role_parse(rows_text(rows, 0, 1), &row.role, info);
    if (e == ERR_OK)
        *ret_row = row;
    return e;
}

enum err session_use(struct db *db, const uint8_t hash[SHA256_SIZE], struct err_info *info)
{
    return db_exec(db, "UPDATE session SET used_at = now() WHERE hash = $1::bytea",
                   DB_ARGS(db_bytes(hash, SHA256_SIZE)), NULL, info);
}

enum err session_remove(struct db *db, const uint8_t hash[SHA256_SIZE], struct err_info *info)
{
    return db_exec(db, "DELETE FROM session WHERE hash = $1::bytea", DB_ARGS(db_bytes(hash, SHA256_SIZE)), NULL, info);
}

enum err session_remove_account(struct db *db, int64_t account_id, struct err_info *info)
{
    return db_exec(db, "DELETE FROM session WHERE account_id = $1::bigint", DB_ARGS(db_i64(account_id)), NULL, info);
}
