#pragma once
/* Bytes by digest in PostgreSQL, in chunks of 1 MiB: never more than one chunk in memory. */

#include "server/db/db.h"

enum { OBJECT_CHUNK_SIZE = 1024 * 1024 };

/* ERR_NOT_FOUND: no such object. */
[[nodiscard]] enum err object_find(struct db *db, const char *sha256, int64_t *ret_size, struct err_info *info);

/* Inside the caller's transaction: stores size bytes of fd from position 0 (read with pread, so that the transaction
 * can be run again). The digest is the caller's word. An object that is there already is left as it is. */
[[nodiscard]] enum err object_add(struct db *db, const char *sha256, int fd, int64_t size, struct err_info *info);

/* Chunk n (from 0) of an object; free() it. ERR_NOT_FOUND behind the last. */
[[nodiscard]] enum err object_chunk_read(struct db *db, const char *sha256, int64_t n, void **ret_bytes,
                                         size_t *ret_len, struct err_info *info);
