#pragma once
/* A stretch of the coded tensors, read in order; much of it is single numbers. Internal to common/delta. */

#include "common/delta/tensors.h"

struct coded {
    const struct tensor_source *source;
    uint64_t at, end; /* what was not asked of the source yet */
    size_t used, len;
    uint8_t buffer[4096];
};

/* The bytes from at to end, both inside the source. */
void coded_begin(struct coded *coded, const struct tensor_source *source, uint64_t at, uint64_t end);

/* The next len bytes. ERR_CORRUPT: there are not so many; and what the source says. */
[[nodiscard]] enum err coded_read(struct coded *coded, void *bytes, size_t len);

/* Where it is in the source. */
uint64_t coded_at(const struct coded *coded);

/* How many bytes are left. */
uint64_t coded_left(const struct coded *coded);
