#pragma once
/* PostgreSQL for the rest of the server: one connection per thread, bound parameters, a transaction runner.
 * Only this folder includes libpq. A struct db and its rows belong to one thread. Every call may block, bounded by
 * connect_timeout and statement_timeout. */

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct db;
struct rows;

/* Opens lazily: the connection is made at the first use and made again after it was lost.
 * url: libpq connection string. name: shows in pg_stat_activity. statement_timeout_ms: 0 for none. */
[[nodiscard]] enum err db_new(const char *url, const char *name, int statement_timeout_ms, struct db **ret_db);
void db_free(struct db *db);

/* Connects now if needed; ERR_UNAVAILABLE with libpq's text. */
[[nodiscard]] enum err db_connect(struct db *db, struct err_info *info);

/* Asks the server for an answer, over the connection there is or a new one. */
[[nodiscard]] enum err db_ping(struct db *db, struct err_info *info);

/* A parameter. Text and bytes are borrowed until the call returns. NULL text is SQL NULL. */
struct db_arg {
    enum { DB_NULL, DB_I64, DB_F64, DB_BOOL, DB_TEXT, DB_BYTES } type;
    union {
        int64_t i64;
        double f64;
        bool flag;
        const char *text;
        struct {
            const void *data;
            size_t len;
        } bytes;
    };
};

static inline struct db_arg db_i64(int64_t v)
{
    return (struct db_arg){.type = DB_I64, .i64 = v};
}
static inline struct db_arg db_f64(double v)
{
    return (struct db_arg){.type = DB_F64, .f64 = v};
}
static inline struct db_arg db_flag(bool v)
{
    return (struct db_arg){.type = DB_BOOL, .flag = v};
}
static inline struct db_arg db_text(const char *v)
{
    return (struct db_arg){.type = v == NULL ? DB_NULL : DB_TEXT, .text = v};
}
static inline struct db_arg db_bytes(const void *data, size_t len)
{
    return (struct db_arg){.type = DB_BYTES, .bytes = {.data = data, .len = len}};
}
static inline struct db_arg db_null(void)
{
    return (struct db_arg){.type = DB_NULL};
}

/* db_query(db, sql, DB_ARGS(db_i64(7), db_text(name)), &rows, info) */
#define DB_ARGS(...)                                                                                                   \
    (const struct db_arg[]){__VA_ARGS__}, sizeof((const struct db_arg[]){__VA_ARGS__}) / sizeof(struct db_arg)
#define DB_NO_ARGS NULL, 0

/* Runs one statement whose parameters are all cast in the SQL ($1::bigint). rows_free() the result; ret_rows may be
 * NULL. Errors: ERR_UNAVAILABLE (connection lost), ERR_CONFLICT (unique, exclusion), ERR_NOT_FOUND (foreign key),
 * ERR_INVALID (check, bad value), ERR_TIMEOUT (statement_timeout), ERR_NO_SPACE, ERR_INTERNAL (anything else; text has
 * SQLSTATE and message). */
[[nodiscard]] enum err db_query(struct db *db, const char *sql, const struct db_arg *args, size_t count,
                                struct rows **ret_rows, struct err_info *info);

/* The same; gives the first column of the first row, copied (free() it): JSON that PostgreSQL built. ERR_NOT_FOUND when
 * there is no row or it is NULL. */
[[nodiscard]] enum err db_query_text(struct db *db, const char *sql, const struct db_arg *args, size_t count,
                                     char **ret_text, struct err_info *info);

/* The same; gives the number of rows the statement changed. ret_changed may be NULL. */
[[nodiscard]] enum err db_exec(struct db *db, const char *sql, const struct db_arg *args, size_t count,
                               int64_t *ret_changed, struct err_info *info);

/* Runs a script of several statements without parameters: migrations only. */
[[nodiscard]] enum err db_script(struct db *db, const char *sql, struct err_info *info);

/* Runs work inside a transaction: COMMIT when it returns ERR_OK (and the server really says COMMIT), else ROLLBACK.
 * On a serialization failure or deadlock it is run again, up to five times: work must be repeatable and do no I/O of
 * its own. Not to be nested. */
[[nodiscard]] enum err db_transaction(struct db *db, enum err (*work)(struct db *db, void *arg, struct err_info *info),
                                      void *arg, struct err_info *info);

/* COPY table FROM STDIN in text format is for writers of many rows: begin, any number of rows, end. Inside a
 * transaction. */
[[nodiscard]] enum err db_copy_begin(struct db *db, const char *sql, struct err_info *info);
[[nodiscard]] enum err db_copy_data(struct db *db, const char *bytes, size_t len, struct err_info *info);
[[nodiscard]] enum err db_copy_end(struct db *db, struct err_info *info);

/* Rows of a result; row and column count from 0 and must be in range. */
size_t rows_count(const struct rows *r);
bool rows_null(const struct rows *r, size_t row, int column);
const char *rows_text(const struct rows *r, size_t row, int column); /* borrowed; "" for NULL */
int64_t rows_i64(const struct rows *r, size_t row, int column);      /* 0 for NULL */
double rows_f64(const struct rows *r, size_t row, int column);       /* 0 for NULL */
bool rows_flag(const struct rows *r, size_t row, int column);        /* false for NULL */
/* A bytea column decoded; free() it. */
[[nodiscard]] enum err rows_bytes(const struct rows *r, size_t row, int column, void **ret_bytes, size_t *ret_len);
void rows_free(struct rows *r);

static inline void cleanup_rows_p(struct rows **r)
{
    rows_free(*r);
}
#define cleanup_rows [[gnu::cleanup(cleanup_rows_p)]]
static inline void cleanup_db_p(struct db **db)
{
    db_free(*db);
}
#define cleanup_db [[gnu::cleanup(cleanup_db_p)]]
