#pragma once
/* The agent's one SQLite file: journal of updates, spool, and a few values. Every commit is durable when it returns
 * (synchronous=FULL). Only the loop's thread may call; calls block on the disk. SQL lives in this directory only. */

#include "common/base/err.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

struct state;

/* Opens or creates the file. One that SQLite finds damaged is put aside as PATH.damaged, one in the format of a newer
 * agent as PATH.newer, and a new one begun: versions on the disk tell what was installed (agent/update/), and nothing
 * but unsent telemetry is lost. ret_new: it was created now. ERR_CONFLICT: another process has it open, also after two
 * seconds. */
[[nodiscard]] enum err state_open(const char *path, struct state **ret_state, bool *ret_new, struct err_info *info);
void state_close(struct state *state);

/* Opens the file of an agent that does not run, to read it: nothing in it or beside it is changed, and a format that is
 * older than this is not brought up to date (ERR_UNSUPPORTED). ERR_NOT_FOUND: there is none; ERR_CONFLICT: an agent
 * has it open; else as above. */
[[nodiscard]] enum err state_peek(const char *path, struct state **ret_state, struct err_info *info);

/* One transaction at a time. After a failed commit nothing of it has happened. */
[[nodiscard]] enum err state_begin(struct state *state);
[[nodiscard]] enum err state_commit(struct state *state);
void state_rollback(struct state *state);

/* Values by name. ERR_NOT_FOUND; text is free()d by the caller. */
[[nodiscard]] enum err state_text_get(struct state *state, const char *key, char **ret_text);
[[nodiscard]] enum err state_text_put(struct state *state, const char *key, const char *text);
[[nodiscard]] enum err state_number_get(struct state *state, const char *key, int64_t *ret_value);
[[nodiscard]] enum err state_number_put(struct state *state, const char *key, int64_t value);

/* ---- for the other files here ---- */

/* A prepared statement; finalized by cleanup_statement. */
[[nodiscard]] enum err state_prepare(struct state *state, const char *sql, sqlite3_stmt **ret_statement);
/* Runs a statement that gives no rows. */
[[nodiscard]] enum err state_run(sqlite3_stmt *statement);
/* Steps to the next row; ret_row false at the end. */
[[nodiscard]] enum err state_row(sqlite3_stmt *statement, bool *ret_row);
/* Text of a column, "" for NULL; valid until the next step. */
const char *state_column_text(sqlite3_stmt *statement, int column);

static inline void cleanup_statement_p(sqlite3_stmt **statement)
{
    (void)sqlite3_finalize(*statement);
}
#define cleanup_statement [[gnu::cleanup(cleanup_statement_p)]]
