#pragma once
/* Samples out of a file: float32, little-endian, back to back; read one at a time, round and round. One thread. */

#include "common/base/err.h"

#include <stddef.h>
#include <stdint.h>

struct source;

/* sample_len: floats of one sample. ERR_INVALID when the file is not a whole number of samples, at least one. The error
 * text starts with the path. */
[[nodiscard]] enum err source_open(const char *path, size_t sample_len, struct source **ret_source,
                                   struct err_info *info);
struct source *source_free(struct source *source);

int64_t source_count(const struct source *source);

/* Sample number i, modulo their count. ERR_IO also when the file has become shorter. */
[[nodiscard]] enum err source_read(const struct source *source, int64_t i, float *ret_sample);

static inline void cleanup_source_p(struct source **source)
{
    (void)source_free(*source);
}
#define cleanup_source [[gnu::cleanup(cleanup_source_p)]]
