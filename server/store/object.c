#include "server/store/object.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum err object_find(struct db *db, const char *sha256, int64_t *ret_size, struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    enum err e = db_query(db, "SELECT size FROM object WHERE sha256 = $1::text", DB_ARGS(db_text(sha256)), &rows, info);
    if (e != ERR_OK)
        return e;
    if (rows_count(rows) == 0)
        return err_code(info, ERR_NOT_FOUND, "object_not_found", "there is no object with this digest");
    *ret_size = rows_i64(rows, 0, 0);
    return ERR_OK;
}

/* Exactly len bytes at offset. */
static enum err read_at(int fd, void *out, size_t len, int64_t offset, struct err_info *info)
{
    char *p = out;
    while (len > 0) {
        ssize_t n = pread(fd, p, len, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_set(info, n < 0 ? err_from_errno(errno) : ERR_IO, "the upload cannot be read back");
        p += n;
        len -= (size_t)n;
        offset += n;
    }
    return ERR_OK;
}

static enum err chunks_add(struct db *db, const char *sha256, int fd, int64_t size, struct err_info *info)
{
    char *chunk = malloc(OBJECT_CHUNK_SIZE);
    enum err e = chunk == NULL ? ERR_NO_MEMORY : ERR_OK;
    for (int64_t at = 0, n = 0; e == ERR_OK && at < size; at += OBJECT_CHUNK_SIZE, n++) {
        size_t len = size - at < OBJECT_CHUNK_SIZE ? (size_t)(size - at) : OBJECT_CHUNK_SIZE;
        e = read_at(fd, chunk, len, at, info);
        if (e == ERR_OK)
            e = db_exec(db, "INSERT INTO object_chunk (sha256, n, bytes) VALUES ($1::text, $2::integer, $3::bytea)",
                        DB_ARGS(db_text(sha256), db_i64(n), db_bytes(chunk, len)), NULL, info);
    }
    free(chunk);
    return e;
}

enum err object_add(struct db *db, const char *sha256, int fd, int64_t size, struct err_info *info)
{
    int64_t added = 0;
    enum err e = db_exec(db, "INSERT INTO object (sha256, size) VALUES ($1::text, $2::bigint) ON CONFLICT DO NOTHING",
                         DB_ARGS(db_text(sha256), db_i64(size)), &added, info);
    if (e != ERR_OK || added == 0)
        return e;
    return chunks_add(db, sha256, fd, size, info);
}

enum err object_chunk_read(struct db *db, const char *sha256, int64_t n, void **ret_bytes, size_t *ret_len,
                           struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    enum err e = db_query(db, "SELECT bytes FROM object_chunk WHERE sha256 = $1::text AND n = $2::integer",
                          DB_ARGS(db_text(sha256), db_i64(n)), &rows, info);
    if (e != ERR_OK)
        return e;
    if (rows_count(rows) == 0)
        return err_set(info, ERR_NOT_FOUND, "the object has no chunk %ld", (long)n);
    return rows_bytes(rows, 0, 0, ret_bytes, ret_len);
}
