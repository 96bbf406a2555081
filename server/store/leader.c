#include "server/store/leader.h"

#include <inttypes.h>

enum err leader_take(struct db *db, const char *name, bool *ret_held, int64_t *ret_epoch, struct err_info *info)
{
    cleanup_rows struct rows *lock = NULL;
    enum err e = db_query(db, "SELECT pg_try_advisory_lock(hashtext('muster leader'), hashtext($1::text))",
                          DB_ARGS(db_text(name)), &lock, info);
    if (e != ERR_OK)
        return e;
    if (!rows_flag(lock, 0, 0)) {
        *ret_held = false;
        return ERR_OK;
    }
    cleanup_rows struct rows *epoch = NULL;
    e = db_query(db, "UPDATE leader SET epoch = epoch + 1 WHERE name = $1::text RETURNING epoch",
                 DB_ARGS(db_text(name)), &epoch, info);
    if (e != ERR_OK)
        return e;
    if (rows_count(epoch) != 1)
        return err_set(info, ERR_INTERNAL, "there is no leader called %s", name);
    *ret_epoch = rows_i64(epoch, 0, 0);
    *ret_held = true;
    return ERR_OK;
}

enum err leader_check(struct db *db, const char *name, int64_t epoch, struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    enum err e =
        db_query(db, "SELECT epoch FROM leader WHERE name = $1::text FOR SHARE", DB_ARGS(db_text(name)), &rows, info);
    if (e != ERR_OK)
        return e;
    if (rows_count(rows) == 1 && rows_i64(rows, 0, 0) == epoch)
        return ERR_OK;
    return err_code(info, ERR_CONFLICT, "not_leader", "%s: epoch %" PRId64 " is over", name, epoch);
}
