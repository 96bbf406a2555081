#pragma once
/* Rebuilds what is no tensor: a stream of ops (bin_op.h) against the old bytes. Internal to common/delta. */

#include "common/base/crypt.h"
#include "common/delta/bin_op.h"
#include "common/delta/vfile.h"

struct bin_rebuild {
    int old_fd, new_fd;
    const struct span_list *old, *new; /* which parts of the files; new is written in order */
    enum delta_effort effort;
    struct coded_pipe pipe; /* read is set */
    uint64_t coded;         /* bytes of it */
    struct sha256 *hash;    /* of the new bytes in order; NULL for none */
};

/* Bytes of heap that it takes, besides the spans. */
size_t bin_decode_memory(enum delta_effort effort);

/* ERR_CORRUPT, ERR_IO, ERR_NO_SPACE, ERR_NO_MEMORY. The stream is not trusted. */
[[nodiscard]] enum err bin_decode(const struct bin_rebuild *what);
