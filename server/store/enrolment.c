#include "server/store/enrolment.h"

#include "common/base/text.h"

#include <stdio.h>

/* openapi's EnrolmentToken, as JSON, of row t and its site s. */
#define TOKEN_JSON                                                                                                     \
    "jsonb_build_object('id', t.id::text, 'site', s.name, 'uses_left', t.uses_left, 'expires_at', ms(t.expires_at),"   \
    " 'created_by', t.created_by, 'created_at', ms(t.created_at), 'revoked_at', ms(t.revoked_at))"
#define TOKEN_FROM " FROM enrolment_token t JOIN site s ON s.id = t.site_id"

enum err enrolment_token_add(struct db *db, const struct enrolment_token *token, int64_t *ret_id,
                             int64_t *ret_expires_ms, struct err_info *info)
{
    static const char sql[] =
        "WITH s AS (INSERT INTO site (name) VALUES ($1::text)"
        " ON CONFLICT (name) DO UPDATE SET name = EXCLUDED.name RETURNING id)"
        " INSERT INTO enrolment_token (hash, site_id, uses_left, expires_at, created_by)"
        " SELECT $2::bytea, s.id, $3::integer, now() + make_interval(secs => $4::double precision), $5::text FROM s"
        " RETURNING id, ms(expires_at)";
    cleanup_rows struct rows *rows = NULL;
    enum err e = db_query(db, sql,
                          DB_ARGS(db_text(token->site), db_bytes(token->hash, sizeof token->hash), db_i64(token->uses),
                                  db_i64(token->expires_in_s), db_text(token->created_by)),
                          &rows, info);
    if (e != ERR_OK)
        return e;
    *ret_id = rows_i64(rows, 0, 0);
    *ret_expires_ms = rows_i64(rows, 0, 1);
    return ERR_OK;
}

enum err enrolment_token_list(struct db *db, char **ret_json, struct err_info *info)
{
    static const char sql[] =
        "SELECT jsonb_build_object('tokens', coalesce(jsonb_agg(" TOKEN_JSON " ORDER BY t.id DESC), '[]'))" TOKEN_FROM;
    return db_query_text(db, sql, DB_NO_ARGS, ret_json, info);
}

static enum err token_not_found(struct err_info *info)
{
    return err_set(info, ERR_NOT_FOUND, "there is no such enrolment token");
}

enum err enrolment_token_get(struct db *db, int64_t id, char **ret_json, struct err_info *info)
{
    static const char sql[] = "SELECT " TOKEN_JSON TOKEN_FROM " WHERE t.id = $1::bigint";
    enum err e = db_query_text(db, sql, DB_ARGS(db_i64(id)), ret_json, info);
    return e == ERR_NOT_FOUND ? token_not_found(info) : e;
}

enum err enrolment_token_revoke(struct db *db, int64_t id, struct err_info *info)
{
    static const char sql[] =
        "UPDATE enrolment_token SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1::bigint";
    int64_t changed = 0;
    enum err e = db_exec(db, sql, DB_ARGS(db_i64(id)), &changed, info);
    return e == ERR_OK && changed == 0 ? token_not_found(info) : e;
}

enum err enrolment_token_unknown(struct err_info *info)
{
    enum err e = err_code(info, ERR_UNAUTHENTICATED, "token_unknown", "there is no such enrolment token");
    err_next(info, "check the token; an administrator makes one with `musterctl enrol-token create`");
    return e;
}

struct token_row {
    int64_t id;
    int64_t site_id;
};

/* Locks the token's row and checks that it may be shown at all. */
static enum err token_lock(struct db *db, const uint8_t hash[SHA256_SIZE], struct token_row *ret_token,
                           struct err_info *info)
{
    static const char sql[] = "SELECT id, site_id, revoked_at IS NOT NULL, expires_at <= now()"
                              " FROM enrolment_token WHERE hash = $1::bytea FOR UPDATE";
    cleanup_rows struct rows *rows = NULL;
    enum err e = db_query(db, sql, DB_ARGS(db_bytes(hash, SHA256_SIZE)), &rows, info);
    if (e != ERR_OK)
        return e;
    if (rows_count(rows) == 0)
        return enrolment_token_unknown(info);
    bool revoked = rows_flag(rows, 0, 2);
    if (revoked || rows_flag(rows, 0, 3)) {
        e = err_code(info, ERR_FORBIDDEN, revoked ? "token_revoked" : "token_expired", "this enrolment token %s",
                     revoked ? "was revoked" : "has expired");
        err_next(info, "ask an administrator for a new one");
        return e;
    }
    *ret_token = (struct token_row){.id = rows_i64(rows, 0, 0), .site_id = rows_i64(rows, 0, 1)};
    return ERR_OK;
}

/* The device that came with this token and key before, if any. */
static enum err device_again(struct db *db, int64_t token_id, const char *public_key, struct admission *admission,
                             struct err_info *info)
{
    static const char sql[] = "SELECT e.device_id, d.retired_at IS NOT NULL FROM enrolment e"
                              " JOIN device d ON d.id = e.device_id"
                              " WHERE e.token_id = $1::bigint AND e.public_key = $2::text";
    cleanup_rows struct rows *rows = NULL;
    enum err e = db_query(db, sql, DB_ARGS(db_i64(token_id), db_text(public_key)), &rows, info);
    if (e != ERR_OK || rows_count(rows) == 0)
        return e;
    if (rows_flag(rows, 0, 1))
        return err_code(info, ERR_FORBIDDEN, "device_retired", "this device is retired");
    (void)text_copy(admission->device_id, sizeof admission->device_id, rows_text(rows, 0, 0));
    admission->again = true;
    return ERR_OK;
}

static enum err token_use(struct db *db, int64_t token_id, struct err_info *info)
{
    int64_t changed = 0;
    enum err e = db_exec(db,
                         "UPDATE enrolment_token SET uses_left = uses_left - 1 WHERE id = $1::bigint"
                         " AND uses_left > 0 AND expires_at > now() AND revoked_at IS NULL",
                         DB_ARGS(db_i64(token_id)), &changed, info);
    if (e != ERR_OK || changed == 1)
        return e;
    e = err_code(info, ERR_FORBIDDEN, "token_used_up", "this enrolment token has no uses left");
    err_next(info, "ask an administrator for a new one");
    return e;
}

/* The wished-for name if it is free, else with more and more of the id behind it, which ends: ids are unique. */
static enum err device_insert(struct db *db, const char *id, int64_t site_id, const struct enrolment *request,
                              struct err_info *info)
{
    static const char sql[] = "INSERT INTO device (id, name, site_id, hardware)"
                              " VALUES ($1::text, $2::text, $3::bigint, $4::text) ON CONFLICT (name) DO NOTHING";
    static const int suffixes[] = {0, 4, 8, DEVICE_ID_SIZE - 1};
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        char name[128];
        (void)snprintf(name, sizeof name, "%.64s%s%.*s", request->name, suffixes[i] == 0 ? "" : "-", suffixes[i], id);
        int64_t added = 0;
        enum err e = db_exec(db, sql, DB_ARGS(db_text(id), db_text(name), db_i64(site_id), db_text(request->hardware)),
                             &added, info);
        if (e != ERR_OK || added == 1)
            return e;
    }
    return err_set(info, ERR_CONFLICT, "no free name for the device");
}

static enum err device_add(struct db *db, const struct token_row *token, const struct enrolment *request,
                           const char *id, struct err_info *info)
{
    static const char sql[] =
        "WITH d AS (INSERT INTO desired (device_id, generation) VALUES ($1::text, 1)),"
        " l AS (INSERT INTO liveness (device_id, beat_s) VALUES ($1::text, $2::real))"
        " INSERT INTO enrolment (token_id, public_key, device_id) VALUES ($3::bigint, $4::text, $1::text)";
    enum err e = device_insert(db, id, token->site_id, request, info);
    if (e != ERR_OK)
        return e;
    return db_exec(db, sql,
                   DB_ARGS(db_text(id), db_f64(request->beat_s), db_i64(token->id), db_text(request->public_key)), NULL,
                   info);
}

enum err enrolment_admit(struct db *db, const struct enrolment *request, struct admission *ret_admission,
                         struct err_info *info)
{
    struct token_row token = {0};
    enum err e = token_lock(db, request->token_hash, &token, info);
    if (e != ERR_OK)
        return e;
    struct admission admission = {.token_id = token.id};
    e = device_again(db, token.id, request->public_key, &admission, info);
    if (e == ERR_OK && !admission.again) {
        e = token_use(db, token.id, info);
        if (e == ERR_OK)
            e = device_id_new(admission.device_id);
        if (e == ERR_OK)
            e = device_add(db, &token, request, admission.device_id, info);
    }
    if (e == ERR_OK)
        *ret_admission = admission;
    return e;
}
