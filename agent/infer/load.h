#pragma once
/* A model with the runtime and the manifest it belongs to. One thread. */

#include "common/bundle/manifest.h"
#include "common/infer/model.h"
#include "common/infer/runtime.h"

/* Paths are borrowed during loaded_open only. */
struct load_settings {
    const char *model;       /* .onnx file */
    const char *manifest;    /* manifest.json; "": the model is taken as it is */
    const char *onnxruntime; /* "": search */
};

struct loaded {
    struct runtime runtime;
    struct manifest *manifest; /* NULL: none */
    struct model *model;
    int64_t load_ms;
};

/* Loads everything; errors have one line for people. Codes "runtime_missing" and "runtime_unfit" are about ONNX
 * Runtime (too old in itself, or for what the manifest requires), all others about the files. loaded_close() it
 * whatever happens; it must be zero before. */
[[nodiscard]] enum err loaded_open(const struct load_settings *settings, struct loaded *ret_loaded,
                                   struct err_info *info);
void loaded_close(struct loaded *loaded);
