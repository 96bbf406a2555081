#include "server/db/db.h"

#include "common/base/clock.h"
#include "common/base/crypt.h"
#include "common/base/text.h"

#include <inttypes.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DB_ARGS_MAX = 32, DB_TRIES = 5 };

struct db {
    PGconn *conn; /* NULL: not connected */
    char *url;
    char *name;
    int statement_timeout_ms;
    bool in_transaction;
    bool retry; /* the last failure was a serialization failure or a deadlock */
};

struct rows {
    PGresult *result;
};

enum err db_new(const char *url, const char *name, int statement_timeout_ms, struct db **ret_db)
{
    struct db *db = calloc(1, sizeof *db);
    if (db == NULL)
        return ERR_NO_MEMORY;
    db->statement_timeout_ms = statement_timeout_ms;
    db->url = strdup(url);
    db->name = strdup(name);
    if (db->url == NULL || db->name == NULL) {
        db_free(db);
        return ERR_NO_MEMORY;
    }
    *ret_db = db;
    return ERR_OK;
}

static void db_disconnect(struct db *db)
{
    PQfinish(db->conn);
    db->conn = NULL;
}

void db_free(struct db *db)
{
    if (db == NULL)
        return;
    db_disconnect(db);
    free(db->url);
    free(db->name);
    free(db);
}

/* libpq ends its messages with a newline. */
static enum err db_fail(struct err_info *info, enum err e, const char *state, const char *message)
{
    int n = (int)strcspn(message, "\n");
    return err_code(info, e, e == ERR_UNAVAILABLE ? "database_unavailable" : "", "database: %.*s%s%s%s", n, message,
                    *state == '\0' ? "" : " (", state, *state == '\0' ? "" : ")");
}

static void notice_drop(void *arg, const char *message)
{
    (void)arg;
    (void)message;
}

/* A connection that the server closed while it was idle has the end of the stream waiting: found here, it costs nobody
 * a failed statement. */
static bool connection_alive(PGconn *conn)
{
    struct pollfd waiting = {.fd = PQsocket(conn), .events = POLLIN};
    for (int i = 0; i < DB_TRIES && PQstatus(conn) == CONNECTION_OK && poll(&waiting, 1, 0) > 0; i++)
        if (PQconsumeInput(conn) == 0)
            return false;
    return PQstatus(conn) == CONNECTION_OK;
}

enum err db_connect(struct db *db, struct err_info *info)
{
    if (db->conn != NULL && connection_alive(db->conn))
        return ERR_OK;
    db_disconnect(db);
    char options[96]; /* jit: our queries are short, and compiling them takes longer than running them */
    (void)snprintf(options, sizeof options, "-c statement_timeout=%d -c timezone=UTC -c jit=off -c lock_timeout=%d",
                   db->statement_timeout_ms, db->statement_timeout_ms);
    const char *keys[] = {
        "dbname",          "application_name",    "options",          "connect_timeout", "tcp_user_timeout",
        "keepalives_idle", "keepalives_interval", "keepalives_count", "client_encoding", NULL};
    const char *values[] = {db->url, db->name, options, "5", "15000", "10", "5", "3", "UTF8", NULL};
    db->conn = PQconnectdbParams(keys, values, 1);
    if (db->conn == NULL)
        return ERR_NO_MEMORY;
    if (PQstatus(db->conn) != CONNECTION_OK) {
        enum err e = db_fail(info, ERR_UNAVAILABLE, "", PQerrorMessage(db->conn));
        db_disconnect(db);
        return e;
    }
    (void)PQsetNoticeProcessor(db->conn, notice_drop, NULL);
    return ERR_OK;
}

/* SQLSTATE classes: PostgreSQL documentation, appendix A. */
static enum err state_to_err(const char *state)
{
    static const struct {
        const char *prefix;
        enum err e;
    } table[] = {
        {"23505", ERR_CONFLICT},    {"23P01", ERR_CONFLICT}, {"23503", ERR_NOT_FOUND}, {"23", ERR_INVALID},
        {"22", ERR_INVALID},        {"57014", ERR_TIMEOUT},  {"55P03", ERR_TIMEOUT},   {"57", ERR_UNAVAILABLE},
        {"08", ERR_UNAVAILABLE},    {"53100", ERR_NO_SPACE}, {"53", ERR_UNAVAILABLE},  {"40", ERR_CONFLICT},
        {"25006", ERR_UNAVAILABLE},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (text_starts(state, table[i].prefix))
            return table[i].e;
    return ERR_INTERNAL;
}

/* Turns a failed result into an error; a lost connection has no SQLSTATE. Frees result. */
static enum err result_fail(struct db *db, PGresult *result, struct err_info *info)
{
    const char *state = result == NULL ? NULL : PQresultErrorField(result, PG_DIAG_SQLSTATE);
    enum err e = ERR_UNAVAILABLE;
    if (PQstatus(db->conn) == CONNECTION_OK && state != NULL) {
        db->retry = text_eq(state, "40001") || text_eq(state, "40P01");
        e = state_to_err(state);
        const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
        e = db_fail(info, e, state, message == NULL ? "unknown error" : message);
    } else {
        e = db_fail(info, ERR_UNAVAILABLE, "", PQerrorMessage(db->conn));
        db_disconnect(db);
    }
    PQclear(result);
    return e;
}

/* Outside a transaction a lost connection is found at the next statement: connect first. */
static enum err db_ready(struct db *db, struct err_info *info)
{
    db->retry = false;
    if (db->in_transaction)
        return db->conn != NULL ? ERR_OK
                                : err_code(info, ERR_UNAVAILABLE, "database_unavailable", "database: connection lost");
    return db_connect(db, info);
}

static enum err db_run(struct db *db, const char *sql, const struct db_arg *args, size_t count, PGresult **ret_result,
                       struct err_info *info)
{
    if (count > DB_ARGS_MAX)
        return err_set(info, ERR_INTERNAL, "more than %d parameters", DB_ARGS_MAX);
    enum err e = db_ready(db, info);
    if (e != ERR_OK)
        return e;
    const char *values[DB_ARGS_MAX];
    int lengths[DB_ARGS_MAX] = {0};
    int formats[DB_ARGS_MAX] = {0};
    char numbers[DB_ARGS_MAX][32];
    for (size_t i = 0; i < count; i++) {
        values[i] = numbers[i];
        switch (args[i].type) {
        case DB_NULL:
            values[i] = NULL;
            break;
        case DB_I64:
            (void)snprintf(numbers[i], sizeof numbers[i], "%" PRId64, args[i].i64);
            break;
        case DB_F64:
            (void)snprintf(numbers[i], sizeof numbers[i], "%.17g", args[i].f64);
            break;
        case DB_BOOL:
            values[i] = args[i].flag ? "t" : "f";
            break;
        case DB_TEXT:
            values[i] = args[i].text;
            break;
        case DB_BYTES:
            values[i] = args[i].bytes.data == NULL ? "" : args[i].bytes.data;
            lengths[i] = (int)args[i].bytes.len;
            formats[i] = 1;
            break;
        }
    }
    PGresult *result = PQexecParams(db->conn, sql, (int)count, NULL, values, lengths, formats, 0);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
        return result_fail(db, result, info);
    *ret_result = result;
    return ERR_OK;
}

enum err db_query(struct db *db, const char *sql, const struct db_arg *args, size_t count, struct rows **ret_rows,
                  struct err_info *info)
{
    PGresult *result = NULL;
    enum err e = db_run(db, sql, args, count, &result, info);
    if (e != ERR_OK)
        return e;
    if (ret_rows == NULL) {
        PQclear(result);
        return ERR_OK;
    }
    struct rows *rows = malloc(sizeof *rows);
    if (rows == NULL) {
        PQclear(result);
        return ERR_NO_MEMORY;
    }
    rows->result = result;
    *ret_rows = rows;
    return ERR_OK;
}

enum err db_ping(struct db *db, struct err_info *info)
{
    return db_query(db, "SELECT 1", DB_NO_ARGS, NULL, info);
}

enum err db_query_text(struct db *db, const char *sql, const struct db_arg *args, size_t count, char **ret_text,
                       struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    enum err e = db_query(db, sql, args, count, &rows, info);
    if (e != ERR_OK)
        return e;
    if (rows_count(rows) == 0 || rows_null(rows, 0, 0))
        return err_set(info, ERR_NOT_FOUND, "there is no such thing");
    char *text = strdup(rows_text(rows, 0, 0));
    if (text == NULL)
        return ERR_NO_MEMORY;
    *ret_text = text;
    return ERR_OK;
}

enum err db_exec(struct db *db, const char *sql, const struct db_arg *args, size_t count, int64_t *ret_changed,
                 struct err_info *info)
{
    PGresult *result = NULL;
    enum err e = db_run(db, sql, args, count, &result, info);
    if (e != ERR_OK)
        return e;
    if (ret_changed != NULL && text_to_i64(PQcmdTuples(result), 0, INT64_MAX, ret_changed) != ERR_OK)
        *ret_changed = 0;
    PQclear(result);
    return ERR_OK;
}

enum err db_script(struct db *db, const char *sql, struct err_info *info)
{
    enum err e = db_ready(db, info);
    if (e != ERR_OK)
        return e;
    PGresult *result = PQexec(db->conn, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
        return result_fail(db, result, info);
    PQclear(result);
    return ERR_OK;
}

/* COMMIT of a failed transaction answers COMMAND_OK with the tag ROLLBACK. */
static enum err transaction_commit(struct db *db, struct err_info *info)
{
    PGresult *result = NULL;
    enum err e = db_run(db, "COMMIT", NULL, 0, &result, info);
    if (e != ERR_OK)
        return e;
    bool committed = text_eq(PQcmdStatus(result), "COMMIT") && PQtransactionStatus(db->conn) == PQTRANS_IDLE;
    PQclear(result);
    return committed ? ERR_OK : err_set(info, ERR_INTERNAL, "database: the transaction was rolled back");
}

static void transaction_rollback(struct db *db)
{
    bool retry = db->retry;
    if (db->conn != NULL && db_script(db, "ROLLBACK", NULL) != ERR_OK)
        db_disconnect(db);
    if (db->conn != NULL && PQtransactionStatus(db->conn) != PQTRANS_IDLE)
        db_disconnect(db);
    db->retry = retry;
}

enum err db_transaction(struct db *db, enum err (*work)(struct db *db, void *arg, struct err_info *info), void *arg,
                        struct err_info *info)
{
    enum err e = ERR_OK;
    for (int attempt = 0; attempt < DB_TRIES; attempt++) {
        e = db_script(db, "BEGIN", info);
        if (e != ERR_OK)
            return e;
        db->in_transaction = true;
        e = work(db, arg, info);
        if (e == ERR_OK)
            e = transaction_commit(db, info);
        if (e != ERR_OK)
            transaction_rollback(db);
        db->in_transaction = false;
        if (e == ERR_OK || !db->retry)
            return e;
        clock_sleep_ms((int64_t)(random_unit() * 20 * (attempt + 1)));
    }
    return e;
}

enum err db_copy_begin(struct db *db, const char *sql, struct err_info *info)
{
    enum err e = db_ready(db, info);
    if (e != ERR_OK)
        return e;
    PGresult *result = PQexec(db->conn, sql);
    if (PQresultStatus(result) != PGRES_COPY_IN)
        return result_fail(db, result, info);
    PQclear(result);
    return ERR_OK;
}

enum err db_copy_data(struct db *db, const char *bytes, size_t len, struct err_info *info)
{
    if (PQputCopyData(db->conn, bytes, (int)len) == 1)
        return ERR_OK;
    return result_fail(db, NULL, info);
}

enum err db_copy_end(struct db *db, struct err_info *info)
{
    if (PQputCopyEnd(db->conn, NULL) != 1)
        return result_fail(db, NULL, info);
    PGresult *result = PQgetResult(db->conn);
    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        return result_fail(db, result, info);
    PQclear(result);
    PQclear(PQgetResult(db->conn)); /* the NULL that ends the command */
    return ERR_OK;
}

size_t rows_count(const struct rows *r)
{
    return (size_t)PQntuples(r->result);
}

bool rows_null(const struct rows *r, size_t row, int column)
{
    return PQgetisnull(r->result, (int)row, column) != 0;
}

const char *rows_text(const struct rows *r, size_t row, int column)
{
    return PQgetvalue(r->result, (int)row, column);
}

int64_t rows_i64(const struct rows *r, size_t row, int column)
{
    int64_t value = 0;
    return text_to_i64(rows_text(r, row, column), INT64_MIN, INT64_MAX, &value) == ERR_OK ? value : 0;
}

double rows_f64(const struct rows *r, size_t row, int column)
{
    return strtod(rows_text(r, row, column), NULL);
}

bool rows_flag(const struct rows *r, size_t row, int column)
{
    return rows_text(r, row, column)[0] == 't';
}

enum err rows_bytes(const struct rows *r, size_t row, int column, void **ret_bytes, size_t *ret_len)
{
    size_t len = 0;
    unsigned char *decoded = PQunescapeBytea((const unsigned char *)rows_text(r, row, column), &len);
    void *bytes = decoded == NULL ? NULL : malloc(len + 1);
    if (bytes != NULL) {
        memcpy(bytes, decoded, len);
        ((char *)bytes)[len] = '\0';
    }
    PQfreemem(decoded);
    if (bytes == NULL)
        return ERR_NO_MEMORY;
    *ret_bytes = bytes;
    *ret_len = len;
    return ERR_OK;
}

void rows_free(struct rows *r)
{
    if (r == NULL)
        return;
    PQclear(r->result);
    free(r);
}
