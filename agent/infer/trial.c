#include "agent/infer/trial.h"

#include "agent/infer/source.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/text.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* A file of the bundle: it lies where the manifest lies. */
static enum err path_of(const struct load_settings *settings, const char *file, char out[PATH_MAX],
                        struct err_info *info)
{
    const char *slash = strrchr(settings->manifest, '/');
    int dir = slash == NULL ? 0 : (int)(slash - settings->manifest) + 1;
    int n = snprintf(out, PATH_MAX, "%.*s%s", dir, settings->manifest, file);
    return n >= 0 && n < PATH_MAX ? ERR_OK : err_set(info, ERR_TOO_LARGE, "the path of %.100s is too long", file);
}

/* One sample in, its first output compared; NaN is never right. */
static enum err sample_check(struct model *model, const struct source *expected, int64_t i, float *wanted,
                             double tolerance, double *most, struct err_info *info)
{
    const float *values = NULL;
    size_t len = 0;
    struct err_info why = {0};
    enum err e = model_run(model, &why);
    if (e != ERR_OK)
        return err_set(info, e, "sample %" PRId64 ": %.300s", i, why.text);
    e = model_output(model, 0, &values, &len);
    if (e == ERR_OK)
        e = source_read(expected, i, wanted);
    if (e != ERR_OK)
        return err_set(info, e, "sample %" PRId64 ": its output cannot be read: %s", i, err_name(e));
    for (size_t k = 0; k < len; k++) {
        double off = fabs((double)values[k] - (double)wanted[k]);
        if (!(off <= tolerance))
            return err_set(info, ERR_CORRUPT,
                           "sample %" PRId64
                           ", value %zu: the model says %g, the bundle says %g; at most %g may differ",
                           i, k, (double)values[k], (double)wanted[k], tolerance);
        *most = off > *most ? off : *most;
    }
    return ERR_OK;
}

static enum err samples_check(struct model *model, const struct source *samples, const struct source *expected,
                              size_t len, double tolerance, double *most, struct err_info *info)
{
    cleanup_free float *wanted = calloc(len, sizeof *wanted);
    enum err e = wanted == NULL ? ERR_NO_MEMORY : ERR_OK;
    for (int64_t i = 0; e == ERR_OK && i < source_count(samples); i++) {
        e = source_read(samples, i, model_input(model));
        e = e != ERR_OK ? err_set(info, e, "sample %" PRId64 " cannot be read", i)
                        : sample_check(model, expected, i, wanted, tolerance, most, info);
    }
    return e;
}

/* All samples of the manifest. */
static enum err samples_try(struct model *model, const struct load_settings *settings,
                            const struct manifest_selftest *test, char ret_text[TRIAL_TEXT_MAX], struct err_info *info)
{
    char path[PATH_MAX];
    size_t len = 0;
    const float *values = NULL;
    double most = 0;
    int64_t start_us = clock_mono_us();
    cleanup_source struct source *samples = NULL;
    cleanup_source struct source *expected = NULL;
    enum err e = path_of(settings, test->samples, path, info);
    if (e == ERR_OK)
        e = source_open(path, model_input_len(model), &samples, info);
    if (e == ERR_OK)
        e = source_read(samples, 0, model_input(model));
    if (e == ERR_OK)
        e = model_run(model, info);
    if (e != ERR_OK)
        return e;
    e = model_output(model, 0, &values, &len);
    if (e != ERR_OK || len == 0)
        return err_set(info, ERR_INVALID, "the model's first output is not float32, so `selftest` cannot be compared");
    e = path_of(settings, test->outputs, path, info);
    if (e == ERR_OK)
        e = source_open(path, len, &expected, info);
    if (e == ERR_OK && source_count(expected) != source_count(samples))
        e = err_set(info, ERR_INVALID,
                    "`selftest` has %" PRId64 " samples, but outputs of %zu values for %" PRId64 " of them",
                    source_count(samples), len, source_count(expected));
    if (e == ERR_OK)
        e = samples_check(model, samples, expected, len, test->tolerance, &most, info);
    if (e == ERR_OK)
        (void)snprintf(ret_text, TRIAL_TEXT_MAX, "%" PRId64 " samples in %.2f s, largest difference %g",
                       source_count(samples), (double)(clock_mono_us() - start_us) / 1e6, most);
    return e;
}

/* Zeros are nobody's data: an answer that is not a finite number is no fault then. */
static enum err zeros_try(struct model *model, char ret_text[TRIAL_TEXT_MAX], struct err_info *info)
{
    int64_t start_us = clock_mono_us();
    memset(model_input(model), 0, model_input_len(model) * sizeof(float));
    enum err e = model_run(model, info);
    if (e != ERR_OK && e != ERR_CORRUPT)
        return e;
    (void)snprintf(ret_text, TRIAL_TEXT_MAX, "one inference on zeros in %.2f s",
                   (double)(clock_mono_us() - start_us) / 1e6);
    return ERR_OK;
}

enum err trial_run(const struct load_settings *settings, char ret_text[TRIAL_TEXT_MAX], struct err_info *info)
{
    struct loaded loaded = {0};
    enum err e = loaded_open(settings, &loaded, info);
    const struct manifest_selftest *test = loaded.manifest == NULL ? NULL : &loaded.manifest->selftest;
    if (e == ERR_OK && test != NULL && test->samples != NULL)
        e = samples_try(loaded.model, settings, test, ret_text, info);
    else if (e == ERR_OK)
        e = zeros_try(loaded.model, ret_text, info);
    loaded_close(&loaded);
    return e;
}
