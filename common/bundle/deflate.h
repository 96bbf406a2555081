#pragma once
/* Compresses a file into one zstd frame that inflate.h takes. Internal to common/bundle. */

#include "common/base/crypt.h"
#include "common/base/err.h"

#include <stdint.h>

/* Where it went. */
struct deflated {
    int64_t offset, size;    /* in the output file */
    char sha256[SHA256_HEX]; /* of those bytes */
};

/* Reads fd from its present position to its end and appends the frame to out. The same bytes make the same frame with
 * the same libzstd. ERR_IO, ERR_NO_SPACE, ERR_NO_MEMORY. */
[[nodiscard]] enum err deflate_fd(int fd, int out, struct deflated *ret_deflated, struct err_info *info);
