#include "server/store/object.h"

#include "common/base/cleanup.h"
#include "common/base/file.h"

enum err object_find(struct db *db, const char *sha256, struct object_row *ret_object, struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    enum err e =
        db_query(db, "SELECT blob, size FROM object WHERE sha256 = $1::text", DB_ARGS(db_text(sha256)), &rows, info);
    if (e != ERR_OK)
        return e;
    if (rows_count(rows) == 0)
        return err_code(info, ERR_NOT_FOUND, "object_not_found", "there is no object with this digest");
    *ret_object = (struct object_row){.blob = rows_i64(rows, 0, 0), .size = rows_i64(rows, 0, 1)};
    return ERR_OK;
}

/* ---- blobs */

enum err blob_new(struct db *db, int64_t *ret_blob, struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    enum err e = db_query(db, "INSERT INTO blob DEFAULT VALUES RETURNING id", DB_NO_ARGS, &rows, info);
    if (e == ERR_OK)
        *ret_blob = rows_i64(rows, 0, 0);
    return e;
}

enum { DELETE_CHUNKS = 256 }; /* in one statement: each has its time limit, however large the blob is */

enum err blob_delete(struct db *db, int64_t blob, struct err_info *info)
{
    int64_t deleted = DELETE_CHUNKS;
    enum err e = ERR_OK;
    while (e == ERR_OK && deleted == DELETE_CHUNKS)
        e = db_exec(db,
                    "DELETE FROM object_chunk WHERE blob = $1::bigint AND n IN"
                    " (SELECT n FROM object_chunk WHERE blob = $1::bigint ORDER BY n LIMIT $2::bigint)",
                    DB_ARGS(db_i64(blob), db_i64(DELETE_CHUNKS)), &deleted, info);
    if (e != ERR_OK)
        return e;
    return db_exec(db, "DELETE FROM blob WHERE id = $1::bigint", DB_ARGS(db_i64(blob)), NULL, info);
}

/* Exactly len bytes at offset. */
static enum err read_at(int fd, void *out, size_t len, int64_t offset, struct err_info *info)
{
    enum err e = file_pread(fd, out, len, offset);
    return e == ERR_OK ? e : err_set(info, e == ERR_CORRUPT ? ERR_IO : e, "the upload cannot be read back");
}

enum err blob_fill(struct db *db, int64_t blob, int64_t first, int fd, int64_t offset, int64_t len,
                   struct err_info *info)
{
    cleanup_free char *chunk = malloc(OBJECT_CHUNK_SIZE);
    enum err e = chunk == NULL ? ERR_NO_MEMORY : ERR_OK;
    for (int64_t at = 0, n = first; e == ERR_OK && at < len; at += OBJECT_CHUNK_SIZE, n++) {
        size_t part = len - at < OBJECT_CHUNK_SIZE ? (size_t)(len - at) : OBJECT_CHUNK_SIZE;
        e = read_at(fd, chunk, part, offset + at, info);
        if (e == ERR_OK)
            e = db_exec(db, "INSERT INTO object_chunk (blob, n, bytes) VALUES ($1::bigint, $2::integer, $3::bytea)",
                        DB_ARGS(db_i64(blob), db_i64(n), db_bytes(chunk, part)), NULL, info);
    }
    return e;
}

enum err blob_chunk_read(struct db *db, int64_t blob, int64_t n, void **ret_bytes, size_t *ret_len,
                         struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    enum err e = db_query(db, "SELECT bytes FROM object_chunk WHERE blob = $1::bigint AND n = $2::integer",
                          DB_ARGS(db_i64(blob), db_i64(n)), &rows, info);
    if (e != ERR_OK)
        return e;
    if (rows_count(rows) == 0)
        return err_set(info, ERR_NOT_FOUND, "the object has no chunk %ld", (long)n);
    return rows_bytes(rows, 0, 0, ret_bytes, ret_len);
}

/* ---- objects */

enum err object_adopt(struct db *db, const char *sha256, const struct object_row *object, bool *ret_added,
                      struct err_info *info)
{
    int64_t added = 0;
    enum err e = db_exec(db,
                         "INSERT INTO object (sha256, size, blob) VALUES ($1::text, $2::bigint, $3::bigint)"
                         " ON CONFLICT (sha256) DO NOTHING",
                         DB_ARGS(db_text(sha256), db_i64(object->size), db_i64(object->blob)), &added, info);
    if (e == ERR_OK)
        *ret_added = added == 1;
    return e;
}

enum err object_add(struct db *db, const char *sha256, int fd, int64_t size, struct err_info *info)
{
    struct object_row object = {.size = size};
    bool added = false;
    enum err e = blob_new(db, &object.blob, info);
    if (e == ERR_OK)
        e = object_adopt(db, sha256, &object, &added, info);
    if (e != ERR_OK)
        return e;
    return added ? blob_fill(db, object.blob, 0, fd, 0, size, info) : blob_delete(db, object.blob, info);
}
