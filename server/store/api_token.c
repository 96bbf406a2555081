#include "server/store/api_token.h"

#include "common/base/text.h"

#include <string.h>

/* One row as the API shows it. */
#define TOKEN_JSON                                                                                                     \
    "jsonb_build_object('id', id::text, 'name', name, 'role', role, 'created_by', created_by,"                         \
    " 'created_at', ms(created_at), 'expires_at', ms(expires_at), 'used_at', ms(used_at),"                             \
    " 'revoked_at', ms(revoked_at))"

enum err api_token_check_name(const char *name, struct err_info *info)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t n = strspn(name, allowed);
    if (n > 0 && n < API_TOKEN_NAME_SIZE && name[n] == '\0' && strchr("._-", name[0]) == NULL)
        return ERR_OK;
    return err_field(info, ERR_INVALID, "name",
                     "a token's name has 1 to 63 letters, digits, dots, hyphens and underscores, and starts with a "
                     "letter or digit");
}

enum err api_token_add(struct db *db, const struct api_token *token, int64_t *ret_id, int64_t *ret_expires_ms,
                       struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    enum err e = db_query(db,
                          "INSERT INTO api_token (hash, name, role, created_by, expires_at)"
                          " VALUES ($1::bytea, $2::text, $3::text, $4::text,"
                          " CASE WHEN $5::bigint = 0 THEN NULL ELSE now() + make_interval(secs => $5::bigint) END)"
                          " RETURNING id, ms(expires_at)",
                          DB_ARGS(db_bytes(token->hash, SHA256_SIZE), db_text(token->name),
                                  db_text(access_role_name(token->role)), db_text(token->created_by),
                                  db_i64(token->expires_in_s)),
                          &rows, info);
    if (e != ERR_OK)
        return e;
    *ret_id = rows_i64(rows, 0, 0);
    *ret_expires_ms = rows_i64(rows, 0, 1);
    return ERR_OK;
}

enum err api_token_find(struct db *db, const uint8_t hash[SHA256_SIZE], struct api_token_row *ret_row,
                        struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    enum err e = db_query(db,
                          "SELECT name, role, coalesce(used_at < now() - interval '1 min', true) FROM api_token WHERE "
                          "hash = $1::bytea AND revoked_at IS NULL"
                          " AND (expires_at IS NULL OR expires_at > now())",
                          DB_ARGS(db_bytes(hash, SHA256_SIZE)), &rows, info);
    if (e != ERR_OK)
        return e;
    if (rows_count(rows) == 0)
        return err_set(info, ERR_NOT_FOUND, "no such token");
    struct api_token_row row = {.use_due = rows_flag(rows, 0, 2)};
    (void)text_copy(row.name, sizeof row.name, rows_text(rows, 0, 0));
    e = access_role_parse(rows_text(rows, 0, 1), &row.role, info);
    if (e == ERR_OK)
        *ret_row = row;
    return e;
}

enum err api_token_use(struct db *db, const uint8_t hash[SHA256_SIZE], struct err_info *info)
{
    return db_exec(db, "UPDATE api_token SET used_at = now() WHERE hash = $1::bytea",
                   DB_ARGS(db_bytes(hash, SHA256_SIZE)), NULL, info);
}

enum err api_token_list(struct db *db, char **ret_json, struct err_info *info)
{
    return db_query_text(db,
                         "SELECT jsonb_build_object('tokens', coalesce(jsonb_agg(" TOKEN_JSON
                         " ORDER BY id DESC), '[]')) FROM api_token",
                         DB_NO_ARGS, ret_json, info);
}

enum err api_token_get(struct db *db, int64_t id, char **ret_json, struct err_info *info)
{
    enum err e = db_query_text(db, "SELECT " TOKEN_JSON " FROM api_token WHERE id = $1::bigint", DB_ARGS(db_i64(id)),
                               ret_json, info);
    return e == ERR_NOT_FOUND ? err_set(info, e, "there is no token with this id") : e;
}

enum err api_token_revoke(struct db *db, int64_t id, struct err_info *info)
{
    int64_t changed = 0;
    enum err e = db_exec(db, "UPDATE api_token SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1::bigint",
                         DB_ARGS(db_i64(id)), &changed, info);
    if (e != ERR_OK)
        return e;
    return changed == 0 ? err_set(info, ERR_NOT_FOUND, "there is no token with this id") : ERR_OK;
}
