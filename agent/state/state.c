#include "agent/state/state.h"

#include "common/base/log.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SCHEMA_VERSION = 1,
    BUSY_MS = 2000 /* somebody may be reading it, for a moment */
};

struct state {
    sqlite3 *db;
};

/* Exclusive locking keeps WAL's index in private memory and a second agent out. The cache is small: a query reads a few
 * pages. */
static const char pragmas[] = "PRAGMA locking_mode = EXCLUSIVE;"
                              "PRAGMA journal_mode = WAL;"
                              "PRAGMA synchronous = FULL;"
                              "PRAGMA cache_size = -256;"
                              "PRAGMA wal_autocheckpoint = 128;"
                              "PRAGMA journal_size_limit = 1048576;"
                              "PRAGMA temp_store = MEMORY;";

static const char schema[] =
    "BEGIN;"
    "CREATE TABLE value (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE slot (slot TEXT PRIMARY KEY, phase TEXT NOT NULL, target TEXT NOT NULL, version TEXT NOT NULL,"
    " probation_s INTEGER NOT NULL, object TEXT NOT NULL, object_size INTEGER NOT NULL, hold_on INTEGER NOT NULL,"
    " hold_then_apply INTEGER NOT NULL, hold_expires INTEGER NOT NULL, hold_reason TEXT NOT NULL,"
    " generation INTEGER NOT NULL, target_counter INTEGER NOT NULL, downloaded INTEGER NOT NULL,"
    " tries INTEGER NOT NULL, boots INTEGER NOT NULL, committed TEXT NOT NULL, previous TEXT NOT NULL,"
    " counter INTEGER NOT NULL, stage TEXT, code TEXT NOT NULL, detail TEXT NOT NULL, device_left TEXT) WITHOUT ROWID;"
    "CREATE TABLE item (id INTEGER PRIMARY KEY, seq INTEGER, rank INTEGER NOT NULL, bytes INTEGER NOT NULL,"
    " body TEXT NOT NULL);"
    "CREATE INDEX item_next ON item (seq, rank, id, bytes);"
    "PRAGMA user_version = 1;"
    "COMMIT;";

/* Columns that came later. They have defaults, so that an agent that does not know them can still use the file: after a
 * failed update of itself the agent before goes on with it. That is why the format's number stays. */
static const struct {
    const char *table, *column, *definition;
} additions[] = {
    {"slot", "objects", "TEXT NOT NULL DEFAULT ''"},    {"slot", "object_from", "TEXT NOT NULL DEFAULT ''"},
    {"slot", "hold_owner", "TEXT NOT NULL DEFAULT ''"}, {"slot", "hold_since", "INTEGER NOT NULL DEFAULT 0"},
    {"slot", "asked", "INTEGER NOT NULL DEFAULT 0"},
};

/* Columns of the table slot as of this agent. */
enum { COLUMNS_FIRST = 23, COLUMNS_NOW = COLUMNS_FIRST + sizeof additions / sizeof additions[0] };

static enum err error_of(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return ERR_OK;
    case SQLITE_FULL:
        return ERR_NO_SPACE;
    case SQLITE_NOMEM:
        return ERR_NO_MEMORY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return ERR_CORRUPT;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ERR_CONFLICT;
    default:
        return ERR_IO;
    }
}

static enum err script_run(sqlite3 *db, const char *sql)
{
    return error_of(sqlite3_exec(db, sql, NULL, NULL, NULL));
}

static enum err number_read(sqlite3 *db, const char *sql, int64_t *ret_value)
{
    cleanup_statement sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(statement);
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? ERR_NOT_FOUND : error_of(rc);
    *ret_value = sqlite3_column_int64(statement, 0);
    return ERR_OK;
}

static enum err column_add(sqlite3 *db, const char *table, const char *column, const char *definition)
{
    char sql[256];
    int64_t there = 0;
    (void)snprintf(sql, sizeof sql, "SELECT count(*) FROM pragma_table_info('%s') WHERE name = '%s'", table, column);
    enum err e = number_read(db, sql, &there);
    if (e != ERR_OK || there > 0)
        return e;
    (void)snprintf(sql, sizeof sql, "ALTER TABLE %s ADD COLUMN %s %s", table, column, definition);
    return script_run(db, sql);
}

static enum err schema_check(sqlite3 *db, bool *ret_new, struct err_info *info)
{
    int64_t version = 0;
    enum err e = number_read(db, "PRAGMA user_version", &version);
    if (e != ERR_OK)
        return e;
    if (version > SCHEMA_VERSION)
        return err_set(info, ERR_UNSUPPORTED, "the state was written by a newer agent (format %d)", (int)version);
    *ret_new = version == 0;
    e = version == 0 ? script_run(db, schema) : ERR_OK;
    for (size_t i = 0; e == ERR_OK && i < sizeof additions / sizeof additions[0]; i++)
        e = column_add(db, additions[i].table, additions[i].column, additions[i].definition);
    return e;
}

/* The end of an opening: hands over the state, or says why not. */
static enum err opened(struct state *state, const char *path, enum err e, struct state **ret_state,
                       struct err_info *info)
{
    if (e == ERR_OK) {
        *ret_state = state;
        return ERR_OK;
    }
    if (info != NULL && info->text[0] == '\0')
        (void)err_set(info, e, "cannot open %s: %s", path, state->db == NULL ? err_name(e) : sqlite3_errmsg(state->db));
    state_close(state);
    return e;
}

static enum err file_open(const char *path, struct state **ret_state, bool *ret_new, struct err_info *info)
{
    struct state *state = calloc(1, sizeof *state);
    if (state == NULL)
        return ERR_NO_MEMORY;
    enum err e = error_of(sqlite3_open_v2(path, &state->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL));
    if (e == ERR_OK)
        (void)sqlite3_busy_timeout(state->db, BUSY_MS);
    if (e == ERR_OK)
        e = script_run(state->db, pragmas);
    if (e == ERR_OK)
        e = schema_check(state->db, ret_new, info);
    return opened(state, path, e, ret_state, info);
}

/* With exclusive locking the log's index is in memory, and without the checkpoint at the end nothing is written: a log
 * that a killed agent has left stays as it is. */
enum err state_peek(const char *path, struct state **ret_state, struct err_info *info)
{
    int64_t columns = 0;
    struct stat st;
    if (stat(path, &st) != 0)
        return err_set(info, err_from_errno(errno), "%s: %s", path, strerror(errno));
    struct state *state = calloc(1, sizeof *state);
    if (state == NULL)
        return ERR_NO_MEMORY;
    enum err e = error_of(sqlite3_open_v2(path, &state->db, SQLITE_OPEN_READWRITE, NULL));
    if (e == ERR_OK)
        e = error_of(sqlite3_db_config(state->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL));
    if (e == ERR_OK)
        e = script_run(state->db, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA query_only = ON; PRAGMA cache_size = -256;");
    if (e == ERR_OK)
        e = number_read(state->db, "SELECT count(*) FROM pragma_table_info('slot')", &columns);
    if (e == ERR_OK && columns < COLUMNS_NOW)
        e = err_set(info, ERR_UNSUPPORTED, "%s was written by an older agent, which has not run since", path);
    return opened(state, path, e, ret_state, info);
}

/* The file is kept for whoever wants to know; its log would be applied to the new one. */
static void file_put_aside(const char *path, const char *why)
{
    char name[PATH_MAX];
    if (snprintf(name, sizeof name, "%s.%s", path, why) < (int)sizeof name)
        (void)rename(path, name);
    if (snprintf(name, sizeof name, "%s-wal", path) < (int)sizeof name)
        (void)unlink(name);
    if (snprintf(name, sizeof name, "%s-shm", path) < (int)sizeof name)
        (void)unlink(name);
}

enum err state_open(const char *path, struct state **ret_state, bool *ret_new, struct err_info *info)
{
    enum err e = file_open(path, ret_state, ret_new, info);
    if (e != ERR_CORRUPT && e != ERR_UNSUPPORTED)
        return e;
    /* Newer: an update of the agent itself was taken back. This one must not be locked out by what that one has done.
     */
    log_error(e == ERR_CORRUPT ? "state_damaged" : "state_newer", "file=%s action=\"put aside and begun anew\"", path);
    if (info != NULL)
        *info = (struct err_info){.offset = -1};
    file_put_aside(path, e == ERR_CORRUPT ? "damaged" : "newer");
    return file_open(path, ret_state, ret_new, info);
}

void state_close(struct state *state)
{
    if (state == NULL)
        return;
    (void)sqlite3_close(state->db);
    free(state);
}

enum err state_begin(struct state *state)
{
    return script_run(state->db, "BEGIN IMMEDIATE");
}

enum err state_commit(struct state *state)
{
    enum err e = script_run(state->db, "COMMIT");
    if (e != ERR_OK)
        state_rollback(state);
    return e;
}

void state_rollback(struct state *state)
{
    /* After some errors SQLite has rolled back by itself; then there is nothing to do. */
    if (sqlite3_get_autocommit(state->db) == 0)
        (void)script_run(state->db, "ROLLBACK");
}

enum err state_prepare(struct state *state, const char *sql, sqlite3_stmt **ret_statement)
{
    return error_of(sqlite3_prepare_v2(state->db, sql, -1, ret_statement, NULL));
}

enum err state_run(sqlite3_stmt *statement)
{
    bool row = false;
    return state_row(statement, &row);
}

enum err state_row(sqlite3_stmt *statement, bool *ret_row)
{
    int rc = sqlite3_step(statement);
    *ret_row = rc == SQLITE_ROW;
    return error_of(rc);
}

const char *state_column_text(sqlite3_stmt *statement, int column)
{
    const char *text = (const char *)sqlite3_column_text(statement, column);
    return text == NULL ? "" : text;
}

static enum err value_select(struct state *state, const char *key, sqlite3_stmt **ret_statement)
{
    bool row = false;
    enum err e = state_prepare(state, "SELECT value FROM value WHERE key = ?1", ret_statement);
    if (e == ERR_OK)
        e = error_of(sqlite3_bind_text(*ret_statement, 1, key, -1, SQLITE_STATIC));
    if (e == ERR_OK)
        e = state_row(*ret_statement, &row);
    return e == ERR_OK && !row ? ERR_NOT_FOUND : e;
}

enum err state_text_get(struct state *state, const char *key, char **ret_text)
{
    cleanup_statement sqlite3_stmt *statement = NULL;
    enum err e = value_select(state, key, &statement);
    if (e != ERR_OK)
        return e;
    char *text = strdup(state_column_text(statement, 0));
    if (text == NULL)
        return ERR_NO_MEMORY;
    *ret_text = text;
    return ERR_OK;
}

enum err state_number_get(struct state *state, const char *key, int64_t *ret_value)
{
    cleanup_statement sqlite3_stmt *statement = NULL;
    enum err e = value_select(state, key, &statement);
    if (e == ERR_OK)
        *ret_value = sqlite3_column_int64(statement, 0);
    return e;
}

static const char value_put[] = "INSERT INTO value (key, value) VALUES (?1, ?2)"
                                " ON CONFLICT (key) DO UPDATE SET value = excluded.value";

enum err state_text_put(struct state *state, const char *key, const char *text)
{
    cleanup_statement sqlite3_stmt *statement = NULL;
    enum err e = state_prepare(state, value_put, &statement);
    if (e == ERR_OK)
        e = error_of(sqlite3_bind_text(statement, 1, key, -1, SQLITE_STATIC));
    if (e == ERR_OK)
        e = error_of(sqlite3_bind_text(statement, 2, text, -1, SQLITE_STATIC));
    return e == ERR_OK ? state_run(statement) : e;
}

enum err state_number_put(struct state *state, const char *key, int64_t value)
{
    cleanup_statement sqlite3_stmt *statement = NULL;
    enum err e = state_prepare(state, value_put, &statement);
    if (e == ERR_OK)
        e = error_of(sqlite3_bind_text(statement, 1, key, -1, SQLITE_STATIC));
    if (e == ERR_OK)
        e = error_of(sqlite3_bind_int64(statement, 2, value));
    return e == ERR_OK ? state_run(statement) : e;
}
