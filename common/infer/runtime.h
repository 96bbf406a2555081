#pragma once
/* ONNX Runtime, loaded at run time: muster-infer builds and starts without it and says how to get it. */

#include "common/base/err.h"

#include <onnxruntime_c_api.h>

struct runtime {
    void *library; /* of dlopen */
    const OrtApi *api;
    const char *version; /* "1.21.0"; borrowed from the library */
    OrtEnv *env;
};

/* Loads the library at path, or, when path is "", the first that is found: packaging/onnxruntime.sh's per-user cache,
 * then the system's. ERR_NOT_FOUND, code runtime_missing; ERR_UNSUPPORTED, code runtime_unfit: too old. The library
 * stays loaded after runtime_close(): it has no safe way out. */
[[nodiscard]] enum err runtime_open(const char *path, struct runtime *ret_runtime, struct err_info *info);
void runtime_close(struct runtime *runtime);

/* ERR_OK for NULL; else frees the status and gives e with "what: " and the first line of the status' message. */
[[nodiscard]] enum err runtime_check(const struct runtime *runtime, OrtStatus *status, enum err e, const char *what,
                                     struct err_info *info);
