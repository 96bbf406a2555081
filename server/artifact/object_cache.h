#pragma once
/* Objects on this server's disk, by digest, filled from PostgreSQL when first asked for: DIR/ab/abcd... Any thread;
 * calls may block on the disk and on the caller's database connection. Nothing is removed yet except half-made files at
 * start: the folder grows with the bundles that are in use. */

#include "common/base/err.h"
#include "server/db/db.h"

#include <stdint.h>

struct object_cache;

/* Makes dir (0700) if needed, checks that it can be written, removes half-made files of an earlier life. */
[[nodiscard]] enum err object_cache_new(const char *dir, struct object_cache **ret_cache, struct err_info *info);
void object_cache_free(struct object_cache *cache);

/* A read-only fd (close() it) of the object's bytes. The first caller fills the file, chunk by chunk, and its digest is
 * checked before it gets its name; callers for the same object wait for that up to five seconds. Files that are there
 * are not hashed again: the device checks what it gets.
 * ERR_NOT_FOUND: no such object. ERR_UNAVAILABLE code `object_loading`: still being filled by another request, try
 * again; code `object_damaged`: what the database holds does not have this digest. ERR_NO_SPACE, ERR_IO. */
[[nodiscard]] enum err object_cache_open(struct object_cache *cache, struct db *db, const char *sha256, int *ret_fd,
                                         int64_t *ret_size, struct err_info *info);
