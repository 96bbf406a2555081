#include "cli/judge.h"

#if __has_include(<onnxruntime_c_api.h>)

#include "cli/samples.h"
#include "common/base/cleanup.h"
#include "common/infer/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const size_t OUTPUTS_FLOATS_MAX = (size_t)1 << 28;

struct judge {
    struct runtime runtime;
    struct model_spec spec;
    int64_t shape[MODEL_RANK_MAX];
    struct samples *samples;
    size_t width;     /* values of one output */
    float *reference; /* the outputs: samples->count times width */
    double range;     /* of the reference's values */
};

struct judge *judge_free(struct judge *judge)
{
    if (judge == NULL)
        return NULL;
    (void)samples_free(judge->samples);
    free(judge->reference);
    runtime_close(&judge->runtime);
    free(judge);
    return NULL;
}

size_t judge_samples(const struct judge *judge)
{
    return judge->samples->count;
}

/* What went wrong, with whose model it was. */
static enum err model_error(enum err e, const char *path, const struct err_info *why, struct err_info *info)
{
    if (*why->code != '\0')
        e = err_code(info, e, why->code, "%.150s: %.200s", path, why->text);
    else
        e = err_set(info, e, "%.150s: %.200s", path, *why->text != '\0' ? why->text : err_words(e));
    err_next(info, "%s", why->next);
    return e;
}

/* Runs sample i. The output is borrowed from the model until its next run. */
static enum err sample_run(const struct judge *j, struct model *model, size_t i, const float **ret_values,
                           size_t *ret_len, struct err_info *info)
{
    memcpy(model_input(model), j->samples->values + i * j->samples->size, j->samples->size * sizeof(float));
    enum err e = model_run(model, info);
    if (e == ERR_OK)
        e = model_output(model, 0, ret_values, ret_len);
    if (e == ERR_UNSUPPORTED)
        return err_set(info, e, "its first output is not float32, so it cannot be compared");
    return e;
}

/* ---- the reference ---- */

static enum err reference_run(struct judge *j, struct model *model, struct err_info *info)
{
    float least = INFINITY;
    float most = -INFINITY;
    enum err e = ERR_OK;
    for (size_t i = 0; e == ERR_OK && i < j->samples->count; i++) {
        const float *values = NULL;
        size_t len = 0;
        e = sample_run(j, model, i, &values, &len, info);
        if (e == ERR_OK && i == 0) {
            j->width = len;
            if (len == 0 || len > OUTPUTS_FLOATS_MAX / j->samples->count)
                return err_set(info, ERR_UNSUPPORTED,
                               "%zu outputs of %zu samples are too many to compare: take fewer samples", len,
                               j->samples->count);
            j->reference = calloc(j->samples->count * len, sizeof *j->reference);
            if (j->reference == NULL)
                return ERR_NO_MEMORY;
        }
        if (e == ERR_OK && len != j->width)
            e = err_set(info, ERR_UNSUPPORTED, "the size of its output changes from sample to sample");
        for (size_t k = 0; e == ERR_OK && values != NULL && k < len; k++) {
            j->reference[i * len + k] = values[k];
            least = fminf(least, values[k]);
            most = fmaxf(most, values[k]);
        }
    }
    j->range = (double)most - (double)least;
    return e;
}

enum err judge_open(const struct judge_settings *settings, const char *reference, struct judge **ret_judge,
                    struct err_info *info)
{
    cleanup_judge struct judge *j = calloc(1, sizeof *j);
    cleanup_model struct model *model = NULL;
    struct err_info why = {0};
    if (j == NULL)
        return ERR_NO_MEMORY;
    if (settings->rank > 0 && settings->rank <= MODEL_RANK_MAX) {
        memcpy(j->shape, settings->shape, settings->rank * sizeof *j->shape);
        j->spec = (struct model_spec){.rank = settings->rank, .shape = j->shape};
    }
    enum err e = runtime_open(settings->library, &j->runtime, info);
    if (e != ERR_OK)
        return e;
    e = model_load(&j->runtime, reference, &j->spec, &model, &why);
    if (e != ERR_OK)
        return model_error(e, reference, &why, info);
    e = samples_load(settings->samples, settings->labels, model_input_len(model), settings->scale, &j->samples, info);
    if (e != ERR_OK)
        return e;
    e = reference_run(j, model, &why);
    if (e != ERR_OK)
        return model_error(e, reference, &why, info);
    *ret_judge = j;
    j = NULL;
    return ERR_OK;
}

/* ---- another model ---- */

static size_t answer(const float *values, size_t len)
{
    size_t best = 0;
    for (size_t i = 1; i < len; i++)
        if (values[i] > values[best])
            best = i;
    return best;
}

static void sample_compare(const struct judge *j, size_t i, const float *values, struct judge_verdict *v)
{
    const float *reference = j->reference + i * j->width;
    double largest = 0;
    for (size_t k = 0; k < j->width; k++) {
        const double difference = fabs((double)values[k] - (double)reference[k]);
        largest = fmax(largest, difference);
        v->mean += difference;
    }
    v->largest = fmax(v->largest, largest);
    const size_t before = answer(reference, j->width);
    const size_t after = answer(values, j->width);
    v->agree += j->width > 1 ? before == after : largest <= 0.01 * j->range;
    if (v->labelled) {
        v->right_before += (int64_t)before == j->samples->labels[i];
        v->right_after += (int64_t)after == j->samples->labels[i];
    }
}

enum err judge_model(struct judge *judge, const char *path, struct judge_verdict *ret_verdict, struct err_info *info)
{
    cleanup_model struct model *model = NULL;
    struct err_info why = {0};
    enum err e = model_load(&judge->runtime, path, &judge->spec, &model, &why);
    struct judge_verdict v = {.samples = judge->samples->count, .labelled = judge->samples->labels != NULL};
    if (e == ERR_OK && model_input_len(model) != judge->samples->size)
        e = err_set(&why, ERR_INVALID, "its input is of another size");
    for (size_t i = 0; e == ERR_OK && i < v.samples; i++) {
        const float *values = NULL;
        size_t len = 0;
        e = sample_run(judge, model, i, &values, &len, &why);
        if (e == ERR_OK && len != judge->width)
            e = err_set(&why, ERR_INVALID, "its output is of another size");
        if (e == ERR_OK && values != NULL)
            sample_compare(judge, i, values, &v);
    }
    if (e != ERR_OK)
        return model_error(e, path, &why, info);
    v.mean /= (double)v.samples * (double)judge->width;
    *ret_verdict = v;
    return ERR_OK;
}

#else

struct judge *judge_free(struct judge *)
{
    return NULL;
}

size_t judge_samples(const struct judge *)
{
    return 0;
}

enum err judge_open(const struct judge_settings *, const char *, struct judge **, struct err_info *info)
{
    enum err e = err_code(info, ERR_UNSUPPORTED, "runtime_missing",
                          "this musterctl cannot run models: it was built without ONNX Runtime's header");
    err_next(info, "get it with packaging/onnxruntime.sh and build again");
    return e;
}

enum err judge_model(struct judge *, const char *, struct judge_verdict *, struct err_info *info)
{
    return err_set(info, ERR_UNSUPPORTED, "built without ONNX Runtime's header");
}

#endif
