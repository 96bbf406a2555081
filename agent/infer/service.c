#include "agent/infer/service.h"

#include "agent/infer/load.h"
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
    struct loaded loaded;
    struct profile *profile; /* NULL: none */
    struct source *source;   /* NULL: none */
    struct window window;
    bool failing; /* the latest inference failed: only the first of a row is logged */
};

/* ---------------------------------------------------------------- loading */

static enum err profile_load(struct service *s, const struct manifest *manifest, struct err_info *info)
{
    struct err_info why = {0};
    if (manifest == NULL || manifest->profile == NULL)
        return ERR_OK;
    enum err e = profile_from_json(manifest->profile, &s->profile, &why);
    return e == ERR_OK ? ERR_OK : err_set(info, e, "the manifest's drift profile: %.300s", why.text);
}

static enum err load(struct service *s, const struct service_settings *settings, struct err_info *info)
{
    struct err_info why = {0};
    const struct load_settings what = {
        .model = settings->model, .manifest = settings->manifest, .onnxruntime = settings->onnxruntime};
    enum err e = loaded_open(&what, &s->loaded, info);
    if (e == ERR_OK)
        e = profile_load(s, s->loaded.manifest, info);
    s->loaded.manifest = manifest_free(s->loaded.manifest); /* not needed any more */
    if (e != ERR_OK || *settings->source == '\0')
        return e;
    e = source_open(settings->source, model_input_len(s->loaded.model), &s->source, &why);
    if (e != ERR_OK)
        return err_set(info, e, "%.280s; the model's input is %.60s float32", why.text,
                       model_input_shape(s->loaded.model));
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
    (void)profile_free(service->profile);
    loaded_close(&service->loaded);
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
    float *input = model_input(service->loaded.model);
    size_t len = model_input_len(service->loaded.model);
    window_add_waiting(&service->window, waiting);
    enum err e = source_read(service->source, i, input);
    int64_t start_us = clock_mono_us();
    if (e != ERR_OK) {
        (void)text_copy(info.text, sizeof info.text, "the source cannot be read");
    } else {
        e = model_run(service->loaded.model, &info);
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
    return json_pack("{s:b, s:s, s:s, s:I, s:o}", "ready", 1, "model_sha256", model_sha256(s->loaded.model), "runtime",
                     s->loaded.runtime.version, "load_ms", (json_int_t)s->loaded.load_ms, "rss",
                     json_id(resident_bytes()));
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
