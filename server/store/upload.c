#include "server/store/upload.h"

#include "common/base/text.h"

#include <inttypes.h>

#define OPEN_SQL                                                                                                       \
    "SELECT id, received, blob, size, expires_at > now() FROM upload WHERE owner = $1::text AND sha256 = $2::text"     \
    " FOR UPDATE"

/* Row 0 as an upload; not found when there is none. */
static enum err row_take(const struct rows *rows, struct upload_row *ret_upload, bool *ret_alive)
{
    if (rows_count(rows) == 0)
        return ERR_NOT_FOUND;
    *ret_upload = (struct upload_row){.id = rows_i64(rows, 0, 0),
                                      .received = rows_i64(rows, 0, 1),
                                      .bytes = {.blob = rows_i64(rows, 0, 2), .size = rows_i64(rows, 0, 3)}};
    *ret_alive = rows_flag(rows, 0, 4);
    return ERR_OK;
}

static enum err find_locked(struct db *db, const char *owner, const char *sha256, struct upload_row *ret_upload,
                            bool *ret_alive, struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    enum err e = db_query(db, OPEN_SQL, DB_ARGS(db_text(owner), db_text(sha256)), &rows, info);
    return e == ERR_OK ? row_take(rows, ret_upload, ret_alive) : e;
}

/* One at a time looks at the limits and begins an upload. */
static enum err limits_check(struct db *db, const char *owner, int64_t size, const struct upload_limits *limits,
                             struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    enum err e = db_query(db, "SELECT pg_advisory_xact_lock(hashtext('upload begin'))", DB_NO_ARGS, NULL, info);
    if (e == ERR_OK)
        e = db_query(db,
                     "SELECT count(*) FILTER (WHERE owner = $1::text), coalesce(sum(size), 0)::bigint FROM upload"
                     " WHERE expires_at > now()",
                     DB_ARGS(db_text(owner)), &rows, info);
    if (e != ERR_OK)
        return e;
    if (rows_i64(rows, 0, 0) >= limits->count_of_owner)
        e = err_code(info, ERR_RATE, "too_many_uploads", "you have %" PRId64 " unfinished uploads already",
                     rows_i64(rows, 0, 0));
    else if (rows_i64(rows, 0, 1) + size > limits->bytes)
        e = err_code(info, ERR_RATE, "too_many_uploads",
                     "all unfinished uploads together would have more than %" PRId64 " bytes", limits->bytes);
    if (e != ERR_OK)
        err_next(info, "Finish one or give it up (DELETE /api/v1/uploads/{sha256}); each ends by itself a day after "
                       "its last part.");
    return e;
}

static enum err upload_begin(struct db *db, const char *owner, const char *sha256, int64_t size,
                             const struct upload_limits *limits, struct upload_row *ret_upload, struct err_info *info)
{
    bool alive = false;
    int64_t blob = 0;
    enum err e = limits_check(db, owner, size, limits, info);
    if (e == ERR_OK) /* somebody may have begun it while we waited for our turn */
        e = find_locked(db, owner, sha256, ret_upload, &alive, info);
    if (e != ERR_NOT_FOUND)
        return e;
    cleanup_rows struct rows *rows = NULL;
    e = blob_new(db, &blob, info);
    if (e == ERR_OK)
        e = db_query(db,
                     "INSERT INTO upload (owner, sha256, size, blob, expires_at) VALUES ($1::text, $2::text,"
                     " $3::bigint, $4::bigint, now() + make_interval(secs => $5::float8))"
                     " RETURNING id, received, blob, size, true",
                     DB_ARGS(db_text(owner), db_text(sha256), db_i64(size), db_i64(blob), db_f64(UPLOAD_KEPT_S)), &rows,
                     info);
    return e == ERR_OK ? row_take(rows, ret_upload, &alive) : e;
}

enum err upload_open(struct db *db, const char *owner, const char *sha256, int64_t size,
                     const struct upload_limits *limits, struct upload_row *ret_upload, struct err_info *info)
{
    struct upload_row upload = {0};
    bool alive = false;
    enum err e = find_locked(db, owner, sha256, &upload, &alive, info);
    if (e == ERR_OK && !alive) {
        e = blob_delete(db, upload.bytes.blob, info);
        if (e == ERR_OK)
            e = ERR_NOT_FOUND;
    }
    if (e == ERR_NOT_FOUND)
        e = upload_begin(db, owner, sha256, size, limits, &upload, info);
    if (e != ERR_OK)
        return e;
    if (upload.bytes.size != size)
        return err_code(info, ERR_CONFLICT, "upload_size_differs",
                        "the upload of this file was begun with %" PRId64 " bytes, not %" PRId64, upload.bytes.size,
                        size);
    *ret_upload = upload;
    return ERR_OK;
}

enum err upload_add(struct db *db, struct upload_row *upload, int fd, int64_t offset, int64_t len,
                    struct err_info *info)
{
    enum err e = blob_fill(db, upload->bytes.blob, upload->received / OBJECT_CHUNK_SIZE, fd, offset, len, info);
    if (e == ERR_OK)
        e = db_exec(db,
                    "UPDATE upload SET received = received + $2::bigint,"
                    " expires_at = now() + make_interval(secs => $3::float8) WHERE id = $1::bigint",
                    DB_ARGS(db_i64(upload->id), db_i64(len), db_f64(UPLOAD_KEPT_S)), NULL, info);
    if (e == ERR_OK)
        upload->received += len;
    return e;
}

enum err upload_close(struct db *db, const struct upload_row *upload, bool adopted, struct err_info *info)
{
    if (!adopted)
        return blob_delete(db, upload->bytes.blob, info);
    return db_exec(db, "DELETE FROM upload WHERE id = $1::bigint", DB_ARGS(db_i64(upload->id)), NULL, info);
}

enum err upload_forget(struct db *db, const char *owner, const char *sha256, bool *ret_found, struct err_info *info)
{
    struct upload_row upload = {0};
    bool alive = false;
    enum err e = find_locked(db, owner, sha256, &upload, &alive, info);
    *ret_found = e == ERR_OK && alive;
    if (e == ERR_OK)
        e = blob_delete(db, upload.bytes.blob, info);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

enum err upload_show(struct db *db, const char *owner, const char *sha256, char **ret_json, struct err_info *info)
{
    static const char sql[] =
        "SELECT j FROM (SELECT 1 AS k, jsonb_build_object('sha256', o.sha256, 'size', o.size::text,"
        "   'received', o.size::text, 'bundle', b.id, 'expires_at', NULL) AS j"
        "   FROM object o JOIN bundle b ON b.object_sha256 = o.sha256 WHERE o.sha256 = $2::text"
        " UNION ALL SELECT 2, jsonb_build_object('sha256', u.sha256, 'size', u.size::text,"
        "   'received', u.received::text, 'bundle', NULL, 'expires_at', ms(u.expires_at))"
        "   FROM upload u WHERE u.owner = $1::text AND u.sha256 = $2::text AND u.expires_at > now()) x"
        " ORDER BY k LIMIT 1";
    enum err e = db_query_text(db, sql, DB_ARGS(db_text(owner), db_text(sha256)), ret_json, info);
    if (e != ERR_NOT_FOUND)
        return e;
    e = err_code(info, ERR_NOT_FOUND, "upload_not_found", "you have no upload of a file with this digest");
    err_next(info, "It begins with the first part that is sent.");
    return e;
}

enum err upload_bundle_find(struct db *db, const char *sha256, char ret_id[65], struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    enum err e =
        db_query(db, "SELECT id FROM bundle WHERE object_sha256 = $1::text", DB_ARGS(db_text(sha256)), &rows, info);
    if (e == ERR_OK && rows_count(rows) == 0)
        return ERR_NOT_FOUND;
    if (e == ERR_OK)
        (void)text_copy(ret_id, 65, rows_text(rows, 0, 0));
    return e;
}

/* Removes one; ret: there was one. */
static enum err expire_work(struct db *db, void *arg, struct err_info *info)
{
    bool *found = arg;
    cleanup_rows struct rows *rows = NULL;
    enum err e = db_query(db, "SELECT blob FROM upload WHERE expires_at < now() LIMIT 1 FOR UPDATE SKIP LOCKED",
                          DB_NO_ARGS, &rows, info);
    if (e != ERR_OK)
        return e;
    *found = rows_count(rows) == 1;
    return *found ? blob_delete(db, rows_i64(rows, 0, 0), info) : ERR_OK;
}

enum err upload_expire(struct db *db, int64_t *ret_count, struct err_info *info)
{
    int64_t count = 0;
    bool found = true;
    enum err e = ERR_OK;
    while (e == ERR_OK && found) {
        e = db_transaction(db, expire_work, &found, info);
        count += e == ERR_OK && found ? 1 : 0;
    }
    if (e == ERR_OK)
        *ret_count = count;
    return e;
}
