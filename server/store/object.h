#pragma once
/* Bytes by digest in PostgreSQL. The bytes are a blob's, in chunks of 1 MiB of which only the last may be smaller, so
 * that a place in the file names its chunk; an object is a blob with a name. Never more than one chunk in memory. */

#include "server/db/db.h"

#include <stdbool.h>

enum { OBJECT_CHUNK_SIZE = 1024 * 1024 };

struct object_row {
    int64_t blob;
    int64_t size;
};

/* ERR_NOT_FOUND code `object_not_found`. */
[[nodiscard]] enum err object_find(struct db *db, const char *sha256, struct object_row *ret_object,
                                   struct err_info *info);

/* Inside the caller's transaction: stores size bytes of fd from position 0 (read with pread, so that the transaction
 * can be run again). The digest is the caller's word. An object that is there already is left as it is. */
[[nodiscard]] enum err object_add(struct db *db, const char *sha256, int fd, int64_t size, struct err_info *info);

/* Inside the caller's transaction: gives a full blob its name, without touching its bytes. ret_added: false when there
 * is such an object already; then the blob is still the caller's. */
[[nodiscard]] enum err object_adopt(struct db *db, const char *sha256, const struct object_row *object, bool *ret_added,
                                    struct err_info *info);

/* A new empty blob, chunks behind those it has, and its end. Inside the caller's transaction. first: number of the
 * chunk that begins with fd's byte `offset`. */
[[nodiscard]] enum err blob_new(struct db *db, int64_t *ret_blob, struct err_info *info);
[[nodiscard]] enum err blob_fill(struct db *db, int64_t blob, int64_t first, int fd, int64_t offset, int64_t len,
                                 struct err_info *info);
[[nodiscard]] enum err blob_delete(struct db *db, int64_t blob, struct err_info *info);

/* Chunk n (from 0) of a blob; free() it. ERR_NOT_FOUND behind the last. */
[[nodiscard]] enum err blob_chunk_read(struct db *db, int64_t blob, int64_t n, void **ret_bytes, size_t *ret_len,
                                       struct err_info *info);
