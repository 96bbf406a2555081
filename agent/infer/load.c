#include "agent/infer/load.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/text.h"

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

/* The model's spec, out of the signed manifest. */
static enum err spec_take(const struct loaded *l, struct model_spec *ret_spec, struct err_info *info)
{
    const struct manifest *manifest = l->manifest;
    const struct manifest_file *file = manifest_file_find(manifest, manifest->model.file);
    const char *needed = manifest->requires_.runtime;
    if (needed != NULL && text_version_older(l->runtime.version, needed))
        return err_code(info, ERR_UNSUPPORTED, "runtime_unfit",
                        "the model needs ONNX Runtime %.40s or newer; this is %.40s", needed, l->runtime.version);
    if (file == NULL)
        return err_set(info, ERR_INVALID, "the manifest lists no file %.100s", manifest->model.file);
    *ret_spec = (struct model_spec){.sha256 = file->sha256};
    if (manifest->model.input_count == 0)
        return ERR_OK;
    const struct manifest_tensor *input = &manifest->model.inputs[0];
    if (!text_eq(input->type, "float32"))
        return err_set(info, ERR_UNSUPPORTED, "the manifest's model has an input of %.40s; only float32 works",
                       input->type);
    ret_spec->rank = input->rank;
    ret_spec->shape = input->shape;
    return ERR_OK;
}

enum err loaded_open(const struct load_settings *settings, struct loaded *ret_loaded, struct err_info *info)
{
    struct model_spec spec = {0};
    struct err_info why = {0};
    struct loaded *l = ret_loaded;
    enum err e = runtime_open(settings->onnxruntime, &l->runtime, info);
    if (e == ERR_OK && *settings->manifest != '\0')
        e = manifest_load(settings->manifest, &l->manifest, info);
    if (e == ERR_OK && l->manifest != NULL)
        e = spec_take(l, &spec, info);
    if (e != ERR_OK)
        return e;
    int64_t start_us = clock_mono_us();
    e = model_load(&l->runtime, settings->model, &spec, &l->model, &why);
    l->load_ms = (clock_mono_us() - start_us) / 1000;
    if (e != ERR_OK)
        return err_set(info, e, "model %.150s: %.200s", settings->model, *why.text != '\0' ? why.text : err_name(e));
    return ERR_OK;
}

void loaded_close(struct loaded *loaded)
{
    loaded->model = model_free(loaded->model);
    loaded->manifest = manifest_free(loaded->manifest);
    runtime_close(&loaded->runtime);
}
