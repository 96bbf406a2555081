#pragma once
/* Tensors that repeat themselves (tables of indices, constants, text): their bytes, by zstd. Internal to common/delta.
 */

#include "common/delta/plan.h"

/* Appends length and frame. ERR_NO_MEMORY. */
[[nodiscard]] enum err packed_write(struct buf *out, const uint8_t *bytes, size_t len, enum delta_effort effort);

/* Bytes that a rebuild takes. */
size_t packed_memory(void);

/* Where a rebuilt tensor goes, in order, at most 64 KiB at once. */
struct packed_sink {
    enum err (*write)(void *user, const uint8_t *bytes, size_t len);
    void *user;
};

/* Reads them again: exactly len bytes, or ERR_CORRUPT. */
[[nodiscard]] enum err packed_read(struct coded *coded, size_t len, const struct packed_sink *sink,
                                   struct err_info *info);
