#include "server/store/partition.h"

enum err partition_prepare(struct db *db, int *ret_made, struct err_info *info)
{
    static const char *const tables[] = {"health", "infer_window", "drift_window"};
    int made = 0;
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        for (int64_t day = -PARTITION_DAYS_BACK; day <= PARTITION_DAYS_AHEAD; day++) {
            cleanup_rows struct rows *rows = NULL;
            enum err e =
                db_query(db, "SELECT partition_make($1::regclass, (now() AT TIME ZONE 'UTC')::date + $2::integer)",
                         DB_ARGS(db_text(tables[i]), db_i64(day)), &rows, info);
            if (e != ERR_OK)
                return e;
            made += rows_flag(rows, 0, 0);
        }
    *ret_made = made;
    return ERR_OK;
}
