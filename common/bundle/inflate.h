#pragma once
/* Decompresses one zstd frame as it streams in, with every bound known beforehand. Internal to common/bundle. */

#include "common/base/err.h"

#include <stddef.h>
#include <stdint.h>

enum { INFLATE_WINDOW_LOG = 23 }; /* 8 MiB: what a frame may want a reader to remember */

struct inflate;

/* size: of what comes out, exactly. put gets it in pieces. inflate_free() it. */
[[nodiscard]] enum err inflate_new(int64_t size,
                                   enum err (*put)(void *user, const void *bytes, size_t len, struct err_info *info),
                                   void *user, struct inflate **ret_inflate);

/* The next bytes of the frame. ERR_CORRUPT code `payload_mismatch`: no zstd, a window that is too large, more than size
 * bytes, or bytes behind the frame; else what put returned. */
[[nodiscard]] enum err inflate_add(struct inflate *z, const void *bytes, size_t len, struct err_info *info);

/* No more bytes: the frame must have ended, after size bytes. */
[[nodiscard]] enum err inflate_end(struct inflate *z, struct err_info *info);

struct inflate *inflate_free(struct inflate *z);

static inline void cleanup_inflate_p(struct inflate **z)
{
    (void)inflate_free(*z);
}
#define cleanup_inflate [[gnu::cleanup(cleanup_inflate_p)]]
