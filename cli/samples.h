#pragma once
/* Samples to run a model on, and what it should answer. Owned by one thread; blocks on files. */

#include "common/base/err.h"

#include <stddef.h>
#include <stdint.h>

struct samples {
    size_t count; /* at least 1 */
    size_t size;  /* floats of one sample */
    float *values;
    int64_t *labels; /* count of them, or NULL: not known */
};

/* Reads samples of `size` floats from path, which is either float32, little-endian, back to back (as muster-infer
 * replays them), or, when its name ends in .csv, a line `label,value,...` for each, whose values are multiplied by
 * scale; a first line without numbers is skipped. labels_path: one whole number per line or one byte per sample; NULL
 * for none, and for CSV. samples_free() the result. ERR_INVALID, ERR_NOT_FOUND, ERR_IO, ERR_TOO_LARGE, ERR_NO_MEMORY,
 * always with info. */
[[nodiscard]] enum err samples_load(const char *path, const char *labels_path, size_t size, double scale,
                                    struct samples **ret_samples, struct err_info *info);
struct samples *samples_free(struct samples *samples);

static inline void cleanup_samples_p(struct samples **samples)
{
    (void)samples_free(*samples);
}
#define cleanup_samples [[gnu::cleanup(cleanup_samples_p)]]
