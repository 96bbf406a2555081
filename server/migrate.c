#include "server/migrate.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/crypt.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/text.h"

#include <dirent.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>

enum { FILES_MAX = 200, NAME_SIZE = 64, SQL_MAX = 4 * 1024 * 1024, LOCK_WAIT_MS = 250, LOCK_TRIES = 1200 };

static const char LOCK_KEY[] = "5571843302914"; /* any number that nobody else uses on this database */

struct migration {
    int64_t version;
    char name[NAME_SIZE];
    char sha256[SHA256_HEX];
    char *sql;
};

struct migrations {
    size_t count;
    struct migration files[FILES_MAX];
};

static void migrations_clear(struct migrations *m)
{
    for (size_t i = 0; i < m->count; i++)
        free(m->files[i].sql);
    m->count = 0;
}
#define cleanup_migrations [[gnu::cleanup(migrations_clear)]]

/* ---- the files */

/* "0001_skeleton.sql" -> 1; 0 when the name has not this form. */
static int64_t version_of(const char *name)
{
    char digits[5] = "";
    int64_t version = 0;
    size_t n = strlen(name);
    if (n < sizeof "0001_x.sql" - 1 || n >= NAME_SIZE || name[4] != '_' || strcmp(name + n - 4, ".sql") != 0)
        return 0;
    memcpy(digits, name, 4);
    return text_to_i64(digits, 1, 9999, &version) == ERR_OK ? version : 0;
}

static int name_is_sql(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);
    return n > 4 && strcmp(entry->d_name + n - 4, ".sql") == 0;
}

static enum err migration_read(const char *dir, const char *name, int64_t expected, struct migration *out,
                               struct err_info *info)
{
    char path[PATH_MAX];
    size_t len = 0;
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    if (version_of(name) != expected)
        return err_set(info, ERR_INVALID, "%s: a file %04" PRId64 "_name.sql is expected at this place", path,
                       expected);
    enum err e = file_read(path, SQL_MAX, &out->sql, &len);
    if (e != ERR_OK)
        return err_set(info, e, "cannot read %s: %s", path, err_name(e));
    out->version = expected;
    (void)text_copy(out->name, sizeof out->name, name);
    return sha256_hex(out->sql, len, out->sha256);
}

/* Takes names. */
static enum err migrations_read(const char *dir, struct dirent **names, int count, struct migrations *m,
                                struct err_info *info)
{
    enum err e = ERR_OK;
    for (int i = 0; i < count; i++) {
        if (e == ERR_OK && i < FILES_MAX) {
            m->count = (size_t)i + 1;
            e = migration_read(dir, names[i]->d_name, i + 1, &m->files[i], info);
        }
        free(names[i]);
    }
    free(names);
    return count > FILES_MAX ? err_set(info, ERR_TOO_LARGE, "%s: more than %d files", dir, FILES_MAX) : e;
}

/* migrations_clear() the result, also after an error. */
static enum err migrations_load(const char *dir, struct migrations *m, struct err_info *info)
{
    struct dirent **names = NULL;
    int count = scandir(dir, &names, name_is_sql, alphasort);
    if (count > 0)
        return migrations_read(dir, names, count, m, info);
    return err_field(info, ERR_NOT_FOUND, "migrations_dir", "migrations_dir = %s: there are no NNNN_name.sql files",
                     dir);
}

/* ---- the database */

/* Rows are what was applied, in order: each must be the file of today. */
static enum err applied_check(const struct migrations *m, const char *dir, const struct rows *rows,
                              struct err_info *info)
{
    for (size_t i = 0; i < rows_count(rows); i++) {
        const char *name = rows_text(rows, i, 1);
        if (i >= m->count || rows_i64(rows, i, 0) != m->files[i].version) {
            enum err e = err_set(info, ERR_CONFLICT, "the database has %s, which is not in %s", name, dir);
            err_next(info, "the database is newer than this musterd: install the version that made it");
            return e;
        }
        if (!text_eq(rows_text(rows, i, 2), m->files[i].sha256)) {
            enum err e = err_set(info, ERR_CONFLICT, "%s/%s was changed after it was applied (as %s)", dir,
                                 m->files[i].name, name);
            err_next(info, "put the file back as it was; a change of the schema is a new file");
            return e;
        }
    }
    return ERR_OK;
}

static enum err applied_read(struct db *db, struct rows **ret_rows, struct err_info *info)
{
    return db_query(db, "SELECT version, name, sha256 FROM schema_migration ORDER BY version", DB_NO_ARGS, ret_rows,
                    info);
}

struct step {
    const struct migration *file;
};

static enum err step_work(struct db *db, void *arg, struct err_info *info)
{
    const struct migration *file = ((struct step *)arg)->file;
    enum err e = db_script(db, file->sql, info);
    if (e != ERR_OK)
        return e;
    return db_exec(db, "INSERT INTO schema_migration (version, name, sha256) VALUES ($1::integer, $2::text, $3::text)",
                   DB_ARGS(db_i64(file->version), db_text(file->name), db_text(file->sha256)), NULL, info);
}

static enum err step_run(struct db *db, const char *dir, const struct migration *file, FILE *out, struct err_info *info)
{
    struct err_info why = {};
    struct step step = {.file = file};
    int64_t begin = clock_mono_ms();
    enum err e = db_transaction(db, step_work, &step, &why);
    if (e != ERR_OK)
        return err_set(info, e, "%s/%s: %s; nothing of it was kept", dir, file->name, why.text);
    if (out != NULL)
        (void)fprintf(out, "%s applied in %" PRId64 " ms\n", file->name, clock_mono_ms() - begin);
    return ERR_OK;
}

/* Under the lock. */
static enum err steps_run(struct db *db, const char *dir, FILE *out, int *ret_count, struct err_info *info)
{
    cleanup_migrations struct migrations m = {};
    cleanup_rows struct rows *applied = NULL;
    enum err e = migrations_load(dir, &m, info);
    if (e == ERR_OK)
        e = db_script(db,
                      "CREATE TABLE IF NOT EXISTS schema_migration (version integer PRIMARY KEY, name text NOT NULL,"
                      " sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())",
                      info);
    if (e == ERR_OK)
        e = applied_read(db, &applied, info);
    if (e == ERR_OK)
        e = applied_check(&m, dir, applied, info);
    size_t done = e == ERR_OK ? rows_count(applied) : 0;
    int count = 0;
    for (size_t i = done; e == ERR_OK && i < m.count; i++) {
        e = step_run(db, dir, &m.files[i], out, info);
        count += e == ERR_OK;
    }
    if (e == ERR_OK && ret_count != NULL)
        *ret_count = count;
    return e;
}

/* The lock is the session's: it goes with the connection when this process dies. Waiting inside the database would
 * block what the holder may need, so it is tried again and again. */
static enum err lock_take(struct db *db, struct err_info *info)
{
    for (int i = 0; i < LOCK_TRIES; i++) {
        cleanup_rows struct rows *rows = NULL;
        enum err e = db_query(db, "SELECT pg_try_advisory_lock($1::bigint)", DB_ARGS(db_text(LOCK_KEY)), &rows, info);
        if (e != ERR_OK)
            return e;
        if (rows_flag(rows, 0, 0))
            return ERR_OK;
        if (i == 0)
            log_info("migration_waits", "another server migrates this database");
        clock_sleep_ms(LOCK_WAIT_MS);
    }
    return err_set(info, ERR_TIMEOUT, "another server has been migrating this database for %d s",
                   LOCK_TRIES * LOCK_WAIT_MS / 1000);
}

enum err migrate_run(struct db *db, const char *dir, FILE *out, int *ret_count, struct err_info *info)
{
    enum err e = lock_take(db, info);
    if (e != ERR_OK)
        return e;
    e = steps_run(db, dir, out, ret_count, info);
    if (db_exec(db, "SELECT pg_advisory_unlock($1::bigint)", DB_ARGS(db_text(LOCK_KEY)), NULL, NULL) != ERR_OK)
        log_warn("migration_lock_kept", "it goes with the connection");
    return e;
}

enum err migrate_check(struct db *db, const char *dir, struct err_info *info)
{
    cleanup_migrations struct migrations m = {};
    cleanup_rows struct rows *applied = NULL;
    cleanup_rows struct rows *exists = NULL;
    enum err e = migrations_load(dir, &m, info);
    if (e == ERR_OK)
        e = db_query(db, "SELECT to_regclass('schema_migration') IS NOT NULL", DB_NO_ARGS, &exists, info);
    if (e != ERR_OK)
        return e;
    bool any = rows_flag(exists, 0, 0);
    if (any)
        e = applied_read(db, &applied, info);
    if (any && e == ERR_OK)
        e = applied_check(&m, dir, applied, info);
    if (e != ERR_OK || (any && rows_count(applied) == m.count))
        return e;
    e = err_set(info, ERR_CONFLICT, "the database's schema is not up to date");
    err_next(info, "run `musterd migrate`");
    return e;
}
