#include "common/infer/runtime.h"

#include <dlfcn.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Everything used here is in the C API since 1.16, and the API only grows. */
enum { API_VERSION = 16 };

/* Debian gives its library the minor version as soname. */
static const char *const system_names[] = {"libonnxruntime.so.1", "libonnxruntime.so.1.21", "libonnxruntime.so"};

/* The newest in the per-user cache; NULL when there is none. */
static void *cache_open(void)
{
    char pattern[4096];
    const char *cache = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    if (cache != NULL && *cache == '/')
        (void)snprintf(pattern, sizeof pattern, "%s/muster/onnxruntime-*/lib/libonnxruntime.so.1", cache);
    else if (home != NULL && *home == '/')
        (void)snprintf(pattern, sizeof pattern, "%s/.cache/muster/onnxruntime-*/lib/libonnxruntime.so.1", home);
    else
        return NULL;
    glob_t found = {0};
    void *library = NULL;
    if (glob(pattern, 0, NULL, &found) == 0)
        for (size_t i = found.gl_pathc; i > 0 && library == NULL; i--)
            library = dlopen(found.gl_pathv[i - 1], RTLD_NOW | RTLD_LOCAL);
    globfree(&found);
    return library;
}

static enum err library_open(const char *path, void **ret_library, struct err_info *info)
{
    void *library = NULL;
    if (*path != '\0') {
        library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (library == NULL)
            return err_code(info, ERR_NOT_FOUND, "runtime_missing", "ONNX Runtime cannot be loaded: %.300s", dlerror());
        *ret_library = library;
        return ERR_OK;
    }
    library = cache_open();
    for (size_t i = 0; library == NULL && i < sizeof system_names / sizeof *system_names; i++)
        library = dlopen(system_names[i], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        enum err e =
            err_code(info, ERR_NOT_FOUND, "runtime_missing", "ONNX Runtime (libonnxruntime.so.1) is not there");
        err_next(info, "get it with packaging/onnxruntime.sh, or name the library with --onnxruntime");
        return e;
    }
    *ret_library = library;
    return ERR_OK;
}

enum err runtime_open(const char *path, struct runtime *ret_runtime, struct err_info *info)
{
    struct runtime r = {0};
    enum err e = library_open(path, &r.library, info);
    if (e != ERR_OK)
        return e;
    const OrtApiBase *(*get_base)(void) = NULL;
    void *symbol = dlsym(r.library, "OrtGetApiBase");
    memcpy(&get_base, &symbol, sizeof symbol); /* ISO C has no cast from object to function pointer */
    if (get_base == NULL)
        return err_code(info, ERR_UNSUPPORTED, "runtime_unfit",
                        "the library is not ONNX Runtime: it has no OrtGetApiBase");
    r.version = get_base()->GetVersionString();
    r.api = get_base()->GetApi(API_VERSION);
    if (r.api == NULL)
        return err_code(info, ERR_UNSUPPORTED, "runtime_unfit", "ONNX Runtime %s is too old; 1.%d or newer is needed",
                        r.version, API_VERSION);
    e = runtime_check(&r, r.api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "muster-infer", &r.env), ERR_INTERNAL,
                      "ONNX Runtime cannot start", info);
    if (e == ERR_OK)
        *ret_runtime = r;
    return e;
}

void runtime_close(struct runtime *runtime)
{
    if (runtime->env != NULL)
        runtime->api->ReleaseEnv(runtime->env);
    *runtime = (struct runtime){0};
}

enum err runtime_check(const struct runtime *runtime, OrtStatus *status, enum err e, const char *what,
                       struct err_info *info)
{
    if (status == NULL)
        return ERR_OK;
    const char *message = runtime->api->GetErrorMessage(status);
    int line = (int)strcspn(message, "\r\n");
    e = err_set(info, e, "%s: %.*s", what, line, message);
    runtime->api->ReleaseStatus(status);
    return e;
}
