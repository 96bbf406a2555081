#pragma once
/* The stream of ops that bin_decode() rebuilds from. Internal to common/delta. */

#include "common/delta/bin_op.h"
#include "common/delta/parallel.h"

struct bin_pair {
    const uint8_t *old;
    size_t old_size;
    const uint8_t *new;
    size_t new_size;
};

/* Writes the stream into sink (its write is set). progress may be NULL; its present phase is gone through. Takes
 * memory: about five times the old size, or 512 MiB, whichever is less, and up to 800 MiB for the new file.
 * ERR_NO_MEMORY and what the sink says. */
[[nodiscard]] enum err bin_encode(const struct bin_pair *pair, const struct delta_options *options,
                                  struct progress *progress, struct coded_pipe sink, uint64_t *ret_len);
