#pragma once
/* The model at work: loads it, runs it on the source's samples and answers the agent's questions. One thread. */

#include "common/base/err.h"

#include <stddef.h>
#include <stdint.h>

struct service;

/* Paths are borrowed during service_open only. */
struct service_settings {
    const char *model;       /* .onnx file */
    const char *manifest;    /* manifest.json; "": the model is taken as it is, and no drift is counted */
    const char *source;      /* "": the model is loaded and waits */
    const char *onnxruntime; /* "": search */
};

/* Loads everything; errors have one line for people. Codes "runtime_missing" and "runtime_unfit" are about ONNX
 * Runtime, all others about the files. */
[[nodiscard]] enum err service_open(const struct service_settings *settings, struct service **ret_service,
                                    struct err_info *info);
struct service *service_free(struct service *service);

/* Is there something to run? */
int64_t service_samples(const struct service *service);

/* One inference of sample i (modulo their number); a failure is counted, not returned. waiting: samples that are due,
 * this one included. */
void service_infer(struct service *service, int64_t i, int64_t waiting);

/* A control_answer (common/local/control.h); arg is the service. */
char *service_answer(void *arg, const char *line, size_t len);

static inline void cleanup_service_p(struct service **service)
{
    (void)service_free(*service);
}
#define cleanup_service [[gnu::cleanup(cleanup_service_p)]]
