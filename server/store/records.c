#include "server/store/records.h"

#include "common/base/cleanup.h"
#include "common/base/json.h"

#include <string.h>

enum { RECORDS_ARGS_MAX = 4 };

enum err records_add(json_t *records, json_t *record)
{
    return json_array_append_new(records, record) == 0 ? ERR_OK : ERR_NO_MEMORY;
}

enum err records_query(struct db *db, const char *sql, const json_t *records, const struct db_arg *more, size_t count,
                       struct rows **ret_rows, struct err_info *info)
{
    if (count > RECORDS_ARGS_MAX - 1)
        return err_set(info, ERR_INTERNAL, "more than %d parameters", RECORDS_ARGS_MAX);
    cleanup_free char *text = NULL;
    enum err e = json_print(records, &text, NULL);
    if (e != ERR_OK)
        return e;
    struct db_arg args[RECORDS_ARGS_MAX] = {db_text(text)};
    for (size_t i = 0; i < count; i++)
        args[i + 1] = more[i];
    return db_query(db, sql, args, count + 1, ret_rows, info);
}
