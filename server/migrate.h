#pragma once
/* The database's schema: files NNNN_name.sql, each run once, in order, in a transaction of its own. */

#include "server/db/db.h"

#include <stdio.h>

/* Runs what the database has not seen yet, and writes a line for each file to out (NULL: none). Safe when several
 * servers do it at once: one works, the others wait for it. db must have no statement timeout.
 * ERR_CONFLICT: an applied file was changed or is missing; ERR_INVALID: names that are not NNNN_name.sql or not in
 * sequence. Errors name the file. ret_count may be NULL. */
[[nodiscard]] enum err migrate_run(struct db *db, const char *dir, FILE *out, int *ret_count, struct err_info *info);

/* ERR_CONFLICT that says what to do when the database is not up to date. Changes nothing. */
[[nodiscard]] enum err migrate_check(struct db *db, const char *dir, struct err_info *info);
