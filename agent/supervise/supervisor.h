#pragma once
/* Starts one muster-infer per slot, watches it, starts it again when it ends, and collects its counts. Only the loop's
 * thread may call. */

#include "agent/core/desired.h"
#include "agent/loop/loop.h"
#include "common/base/json.h"

struct supervisor;

struct supervisor_settings {
    const char *program;     /* path of muster-infer */
    const char *onnxruntime; /* library, "": let it search */
    const char *source;      /* file of samples, "": none */
    double source_rate;      /* samples per second */
};

/* The version a slot runs. Paths are relative to the working directory. */
struct supervisor_model {
    char slot[SLOT_NAME_SIZE];
    char bundle[SHA256_HEX];
    char sha256[SHA256_HEX]; /* of the model file, as its signed manifest lists it */
    char model[512];         /* its path */
    char manifest[512];      /* path of manifest.json */
};

/* Called from the loop; slot and bundle are those of the model in question. They may call the supervisor. */
struct supervisor_hooks {
    /* It answers, and has loaded the bytes that the manifest lists (good), or others. */
    void (*ready)(void *user, const char *slot, const char *bundle, bool good);
    /* It has ended without being told to; detail is for people. It will be started again after a while. */
    void (*exited)(void *user, const char *slot, const char *bundle, bool was_ready, const char *detail);
    /* Its counts since the last time, as it gave them. */
    void (*window)(void *user, const char *slot, const char *bundle, const json_t *counts);
    void *user;
};

/* settings' texts are borrowed. */
[[nodiscard]] enum err supervisor_open(struct loop *loop, const struct supervisor_settings *settings,
                                       const struct supervisor_hooks *hooks, struct supervisor **ret_supervisor);

/* Ends all children and waits for them, 3 s at most for their own end. */
void supervisor_close(struct supervisor *supervisor);

/* The slot shall run this model from now on; nothing happens when it does already. ERR_TOO_LARGE: too many slots. */
[[nodiscard]] enum err supervisor_run(struct supervisor *supervisor, const struct supervisor_model *model);

/* The slot shall run nothing. */
void supervisor_stop(struct supervisor *supervisor, const char *slot);

/* The bundle whose model file the slot's muster-infer has loaded, by the hash of the bytes it loaded; else NULL. */
const char *supervisor_running(const struct supervisor *supervisor, const char *slot);

/* Version of ONNX Runtime as some muster-infer has said it; "" before that. */
const char *supervisor_runtime(const struct supervisor *supervisor);

/* Asks for counts, of one slot or of all (NULL). Answers come by the hook; one that never comes ends the process. */
void supervisor_collect(struct supervisor *supervisor, const char *slot);
