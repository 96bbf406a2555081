#include "agent/infer/service.h"

#include "common/infer/model.h"
#include "common/infer/runtime.h"
#include "agent/infer/source.h"
#include "agent/infer/window.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "common/bundle/manifest.h"

#include <stdio.h>
#include <string.h>

struct service {
    struct runtime runtime;
    struct model *model;
    struct profile *profile; /* NULL: none */
    struct source *source;   /* NULL: none */
    struct window window;
    int64_t load_ms;
    bool failing; /* the latest inference failed: only the first of a row is logged */
};

/* ---------------------------------------------------------------- loading */

static enum err manifest_load(const char *path, struct manifest **ret_manifest, struct err_info *info)
{
    cleanup_free char *text = NULL;
    size_t len = 0;
    struct err_info why = {0};
    enum err e = file_read(path, MANIFEST_BYTES_MAX, &text, &len);
    if (e != ERR_OK)
        return err_set(info, e, "manifest %.200s cannot be read: %s", path, err_name(e));
    struct manifest *m = NULL;
    e = manifest_parse(text, len, &m, &why);
    if (e == ERR_OK && (m->kind != MANIFEST_MODEL || m->model.input_count > 1)) {
        (void)manifest_free(m);
        return err_set(info, ERR_UNSUPPORTED, "manifest %.200s is not of a model with one input", path);
    }
    if (e != ERR_OK)
        return err_set(info, e, "manifest %.150s: %.200s", path, why.text);
    *ret_manifest = m;
    return ERR_OK;
}

/* The model's spec and the drift profile, out of the signed manifest. */
static enum err manifest_use(struct service *s, const struct manifest *manifest, struct model_spec *ret_spec,
                             struct err_info *info)
{
    const struct manifest_file *file = manifest_file_find(manifest, manifest->model.file);
    if (file == NULL)
        return err_set(info, ERR_INVALID, "the manifest lists no file %.100s", manifest->model.file);
    *ret_spec = (struct model_spec){.sha256 = file->sha256};
    if (manifest->model.input_count > 0) {
        const struct manifest_tensor *input = &manifest->model.inputs[0];
        if (!text_eq(input->type, "float32"))
            return err_set(info, ERR_UNSUPPORTED, "the manifest's model has an input of %.40s; only float32 works",
                           input->type);
        ret_spec->rank = input->rank;
        ret_spec->shape = input->shape;
    }
    if (manifest->profile == NULL)
        return ERR_OK;
    struct err_info why = {0};
    enum err e = profile_from_json(manifest->profile, &s->profile, &why);
    return e == ERR_OK ? ERR_OK : err_set(info, e, "the manifest's drift profile: %.300s", why.text);
}

static enum err load(struct service *s, const struct service_settings *settings, struct err_info *info)
{
    cleanup_manifest struct manifest *manifest = NULL;
    struct model_spec spec = {0};
    enum err e = runtime_open(settings->onnxruntime, &s->runtime, info);
    if (e == ERR_OK && *settings->manifest != '\0')
        e = manifest_load(settings->manifest, &manifest, info);
    if (e == ERR_OK && manifest != NULL)
        e = manifest_use(s, manifest, &spec, info);
    if (e != ERR_OK)
        return e;
    struct err_info why = {0};
    int64_t start_us = clock_mono_us();
    e = model_load(&s->runtime, settings->model, &spec, &s->model, &why);
    s->load_ms = (clock_mono_us() - start_us) / 1000;
    if (e != ERR_OK)
        return err_set(info, e, "model %.150s: %.200s", settings->model, *why.text != '\0' ? why.text : err_name(e));
    if (*settings->source == '\0')
        return ERR_OK;
    e = source_open(settings->source, model_input_len(s->model), &s->source, &why);
    if (e != ERR_OK)
        return err_set(info, e, "%.280s; the model's input is %.60s float32", why.text, model_input_shape(s->model));
    return ERR_OK;
}

enum err service_open(const struct service_settings *settings, struct service **ret_service, struct err_info *info)
{
    struct service *s = calloc(1, sizeof *s);
    if (s == NULL)
        return ERR_NO_MEMORY;
    enum err e = load(s, settings, info);
    if (e != ERR_OK) {
        (void)service_free(s);
        return e;
    }
    s->window = window_start(clock_mono_us(), s->profile);
    *ret_service = s;
    return ERR_OK;
}

struct service *service_free(struct service *service)
{
    if (service == NULL)
        return NULL;
    (void)source_free(service->source);
    (void)model_free(service->model);
    (void)profile_free(service->profile);
    runtime_close(&service->runtime);
    free(service);
    return NULL;
}

/* ---------------------------------------------------------------- inference */

int64_t service_samples(const struct service *service)
{
    return service->source == NULL ? 0 : source_count(service->source);
}

void service_infer(struct service *service, int64_t i, int64_t waiting)
{
    struct err_info info = {0};
    float *input = model_input(service->model);
    size_t len = model_input_len(service->model);
    window_add_waiting(&service->window, waiting);
    enum err e = source_read(service->source, i, input);
    int64_t start_us = clock_mono_us();
    if (e != ERR_OK) {
        (void)text_copy(info.text, sizeof info.text, "the source cannot be read");
    } else {
        e = model_run(service->model, &info);
        int64_t end_us = clock_mono_us();
        window_add_input(&service->window, input, len);
        if (e == ERR_OK)
            window_add_success(&service->window, end_us - start_us);
    }
    if (e != ERR_OK)
        window_add_error(&service->window);
    if (e != ERR_OK && !service->failing)
        log_error("inference_failed", "sample=%lld reason=\"%s\"", (long long)(i % source_count(service->source)),
                  info.text);
    service->failing = e != ERR_OK;
}

/* ---------------------------------------------------------------- answers */

/* Resident bytes, 0 when the kernel does not say. */
static int64_t resident_bytes(void)
{
    cleanup_free char *text = NULL;
    long long pages = 0;
    if (file_read("/proc/self/statm", 4096, &text, NULL) != ERR_OK || sscanf(text, "%*s %lld", &pages) != 1)
        return 0;
    return pages * sysconf(_SC_PAGESIZE);
}

static json_t *state_answer(const struct service *s)
{
    return json_pack("{s:b, s:s, s:s, s:I, s:o}", "ready", 1, "model_sha256", model_sha256(s->model), "runtime",
                     s->runtime.version, "load_ms", (json_int_t)s->load_ms, "rss", json_id(resident_bytes()));
}

static json_t *error_answer(const char *text)
{
    return json_pack("{s:s}", "error", text);
}

static json_t *answer(struct service *s, const json_t *request)
{
    const char *op = json_text_or_null(request, "op");
    if (text_eq(op, "state"))
        return state_answer(s);
    if (text_eq(op, "take"))
        return window_take(&s->window, clock_mono_us());
    return error_answer("\"op\" must be \"state\" or \"take\"");
}

char *service_answer(void *arg, const char *line, size_t len)
{
    json_auto_t *request = NULL;
    struct err_info info = {0};
    enum err e = json_parse(line, len, JSON_BYTES_MAX, &request, &info);
    json_auto_t *reply = e == ERR_OK ? answer(arg, request) : error_answer(info.text);
    char *text = NULL;
    return json_print(reply, &text, NULL) == ERR_OK ? text : NULL;
}
