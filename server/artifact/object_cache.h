#pragma once
/* Objects on this server's disk, by digest, filled from PostgreSQL when first asked for: DIR/ab/abcd... The folder has
 * a bound: what was not used for longest goes first, and never a file that somebody has open. Any thread; calls may
 * block on the disk and on the caller's database connection. */

#include "common/base/err.h"
#include "server/store/object.h"

#include <stdint.h>

struct object_cache;
struct object_use; /* keeps one object's file from being removed */

/* Makes dir (0700) if needed, checks that it can be written, removes half-made files of an earlier life, and what is
 * over max bytes. */
[[nodiscard]] enum err object_cache_new(const char *dir, int64_t max, struct object_cache **ret_cache,
                                        struct err_info *info);
void object_cache_free(struct object_cache *cache);

/* A read-only fd (close() it) of the object's bytes, and its use, which object_use_end() ends. The first caller fills
 * the file, chunk by chunk, and its digest is checked before it gets its name; callers for the same object wait for
 * that up to five seconds. Files that are there are not hashed again: the device checks what it gets.
 * ERR_UNAVAILABLE code `object_loading`: still being filled by another request, try again; code `object_damaged`: what
 * the database holds does not have this digest. ERR_NO_SPACE, ERR_IO: there is no room for it on the disk, or in the
 * bound (everything else is in use): read it from the database. */
[[nodiscard]] enum err object_cache_open(struct object_cache *cache, struct db *db, const char *sha256,
                                         const struct object_row *object, int *ret_fd, struct object_use **ret_use,
                                         struct err_info *info);

/* NULL is fine. */
void object_use_end(struct object_use *use);

static inline void cleanup_object_use_p(struct object_use **use)
{
    object_use_end(*use);
}
#define cleanup_object_use [[gnu::cleanup(cleanup_object_use_p)]]

/* What is kept now. */
void object_cache_sum(struct object_cache *cache, int64_t *ret_bytes, size_t *ret_files);
