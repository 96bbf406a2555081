#include "server/store/account.h"

#include "common/base/text.h"

enum err account_find(struct db *db, const char *name, struct account *ret_account, struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    enum err e = db_query(db,
                          "SELECT id, name, password_hash, must_change, disabled_at IS NOT NULL, role FROM account"
                          " WHERE name = $1::text",
                          DB_ARGS(db_text(name)), &rows, info);
    if (e != ERR_OK)
        return e;
    if (rows_count(rows) == 0)
        return err_set(info, ERR_NOT_FOUND, "there is no account with this name");
    struct account account = {
        .id = rows_i64(rows, 0, 0), .must_change = rows_flag(rows, 0, 3), .disabled = rows_flag(rows, 0, 4)};
    (void)text_copy(account.name, sizeof account.name, rows_text(rows, 0, 1));
    (void)text_copy(account.password_hash, sizeof account.password_hash, rows_text(rows, 0, 2));
    e = access_role_parse(rows_text(rows, 0, 5), &account.role, info);
    if (e == ERR_OK)
        *ret_account = account;
    return e;
}

enum err account_any(struct db *db, bool *ret_any, struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    enum err e = db_query(db, "SELECT EXISTS (SELECT FROM account)", DB_NO_ARGS, &rows, info);
    if (e == ERR_OK)
        *ret_any = rows_flag(rows, 0, 0);
    return e;
}

enum err account_add(struct db *db, const char *name, const char *password_hash, bool must_change, enum role role,
                     bool *ret_created, struct err_info *info)
{
    int64_t changed = 0;
    enum err e =
        db_exec(db,
                "INSERT INTO account (name, password_hash, must_change, role)"
                " VALUES ($1::text, $2::text, $3::boolean, $4::text) ON CONFLICT (name) DO NOTHING",
                DB_ARGS(db_text(name), db_text(password_hash), db_flag(must_change), db_text(access_role_name(role))),
                &changed, info);
    if (e == ERR_INVALID)
        return err_set(info, e,
                       "\"%.63s\" is not a name: 1 to 63 of a-z, 0-9, '.', '_', '-', beginning with a-z or 0-9", name);
    if (e == ERR_OK)
        *ret_created = changed == 1;
    return e;
}

enum err account_set_password(struct db *db, const char *name, const char *password_hash, bool must_change,
                              struct err_info *info)
{
    int64_t changed = 0;
    enum err e =
        db_exec(db, "UPDATE account SET password_hash = $2::text, must_change = $3::boolean WHERE name = $1::text",
                DB_ARGS(db_text(name), db_text(password_hash), db_flag(must_change)), &changed, info);
    if (e != ERR_OK)
        return e;
    return changed == 0 ? err_set(info, ERR_NOT_FOUND, "there is no account \"%.63s\"", name) : ERR_OK;
}
