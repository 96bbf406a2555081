#pragma once
/* Many records as one parameter: a JSON array that the statement reads with jsonb_to_recordset($1::jsonb). */

#include "server/db/db.h"

#include <jansson.h>

/* Appends a record (made by json_pack, stolen, NULL when there was no memory). */
[[nodiscard]] enum err records_add(json_t *records, json_t *record);

/* Runs a statement whose $1 is records (borrowed); more: its other parameters, at most 3. ret_rows may be NULL. */
[[nodiscard]] enum err records_query(struct db *db, const char *sql, const json_t *records, const struct db_arg *more,
                                     size_t count, struct rows **ret_rows, struct err_info *info);
