#pragma once
/* Writes a bundle file beside its final name and puts it there in one step. Internal to common/bundle. */

#include "common/base/err.h"

#include <stddef.h>
#include <stdint.h>

struct writer;

/* Opens a temporary file beside path. time_ms: the time of every entry, Unix ms. writer_free() it. */
[[nodiscard]] enum err writer_new(const char *path, int64_t time_ms, struct writer **ret_writer, struct err_info *info);

/* Starts an entry of size bytes, then its bytes in pieces. */
[[nodiscard]] enum err writer_entry(struct writer *w, const char *name, int64_t size, struct err_info *info);
[[nodiscard]] enum err writer_bytes(struct writer *w, const void *bytes, size_t len, struct err_info *info);

/* A whole small entry. */
[[nodiscard]] enum err writer_text(struct writer *w, const char *name, const void *bytes, size_t len,
                                   struct err_info *info);

/* Finishes the archive, makes it durable and gives it its name. */
[[nodiscard]] enum err writer_commit(struct writer *w, struct err_info *info);

/* Removes the temporary file unless it was committed. NULL is fine. */
struct writer *writer_free(struct writer *w);

static inline void cleanup_writer_p(struct writer **w)
{
    (void)writer_free(*w);
}
#define cleanup_writer [[gnu::cleanup(cleanup_writer_p)]]
