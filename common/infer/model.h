#pragma once
/* One model: the bytes that were hashed are the bytes that run. One thread. */

#include "common/base/crypt.h"
#include "common/infer/runtime.h"

#include <stddef.h>
#include <stdint.h>

enum { MODEL_RANK_MAX = 8 };

/* What the signed manifest says of the model. */
struct model_spec {
    const char *sha256;   /* of the file; NULL: not known */
    size_t rank;          /* of the one input; 0: not known */
    const int64_t *shape; /* -1: any */
};

struct model;

/* Reads the file, hashes it, and only when the digest is the spec's gives it to the runtime (one thread, no arena). The
 * model must have one input, of float32; free dimensions are taken from the spec, and are 1 where that has none either.
 * Errors: ERR_NOT_FOUND, ERR_IO; ERR_CORRUPT (digest); ERR_INVALID (not a model); ERR_UNSUPPORTED (other inputs). */
[[nodiscard]] enum err model_load(const struct runtime *runtime, const char *path, const struct model_spec *spec,
                                  struct model **ret_model, struct err_info *info);
struct model *model_free(struct model *model);

const char *model_sha256(const struct model *model);

/* Number of floats of one sample, and the buffer for them: fill it, then run. */
size_t model_input_len(const struct model *model);
float *model_input(struct model *model);

/* "1x1x16x16"; borrowed. */
const char *model_input_shape(const struct model *model);

/* One inference of what is in the input buffer. ERR_INTERNAL: the runtime failed; ERR_CORRUPT: an output of float32
 * is not finite. */
[[nodiscard]] enum err model_run(struct model *model, struct err_info *info);

/* The i-th output of the latest successful run: its floats, borrowed until the next run. ERR_NOT_FOUND: there is no
 * such output; ERR_UNSUPPORTED: it is not float32. */
[[nodiscard]] enum err model_output(const struct model *model, size_t i, const float **ret_values, size_t *ret_len);

static inline void cleanup_model_p(struct model **model)
{
    (void)model_free(*model);
}
#define cleanup_model [[gnu::cleanup(cleanup_model_p)]]
