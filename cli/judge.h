#pragma once
/* What a changed model answers, beside the one it was made of. Runs models with ONNX Runtime; one thread, blocks. */

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct judge_settings {
    const char *samples; /* as in cli/samples.h */
    const char *labels;  /* may be NULL */
    double scale;        /* of CSV samples */
    const char *library; /* libonnxruntime.so; "": the first that is found */
    size_t rank;         /* of the model's input; 0: what the model says */
    const int64_t *shape;
};

struct judge;

/* Runs the reference model on all samples and keeps its first output. judge_free() it. ERR_UNSUPPORTED: this musterctl
 * was built without ONNX Runtime's header, or the model has no float32 output; else as model_load() and
 * samples_load(). */
[[nodiscard]] enum err judge_open(const struct judge_settings *settings, const char *reference,
                                  struct judge **ret_judge, struct err_info *info);
struct judge *judge_free(struct judge *judge);
size_t judge_samples(const struct judge *judge); /* how many */

/* How another model compares with the reference, on its first output. The answer of a model is the place of its largest
 * value; of a model with one value, the value, and two agree when they differ by at most 1 % of the reference's range.
 */
struct judge_verdict {
    size_t samples;
    bool labelled;
    size_t right_before, right_after; /* answers that are the label, when labelled */
    size_t agree;                     /* samples with the same answer */
    double largest, mean;             /* absolute differences of output values */
};

/* Errors as judge_open(); ERR_INVALID also when the outputs are of another size. */
[[nodiscard]] enum err judge_model(struct judge *judge, const char *path, struct judge_verdict *ret_verdict,
                                   struct err_info *info);

static inline void cleanup_judge_p(struct judge **judge)
{
    (void)judge_free(*judge);
}
#define cleanup_judge [[gnu::cleanup(cleanup_judge_p)]]
