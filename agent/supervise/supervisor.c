#include "agent/supervise/supervisor.h"

#include "agent/core/retry.h"
#include "agent/loop/child.h"
#include "agent/supervise/infer_client.h"
#include "common/base/clock.h"
#include "common/base/crypt.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/text.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    CONNECT_EVERY_MS = 100,
    START_MAX_MS = 120 * 1000, /* to load a large model */
    ANSWER_MAX_MS = 10 * 1000,
    STOP_MAX_MS = 3 * 1000,
    RESTART_FIRST_MS = 1000,
    RESTART_MOST_MS = 60 * 1000,
    LINE_MAX_BYTES = 400,
    SOCKET_SIZE = 4 + SLOT_NAME_SIZE + 8
};

enum infer_state {
    INFER_NONE,     /* nothing to run */
    INFER_STARTING, /* its process runs and does not answer yet */
    INFER_READY,
    INFER_STOPPING, /* told to end; then what is wanted is started */
    INFER_WAITING   /* until it is started again */
};

struct infer {
    struct supervisor *supervisor;
    enum infer_state state;
    bool wanted; /* model says what to run */
    bool good;   /* it has loaded what the manifest lists */
    struct supervisor_model model;
    struct child child;
    struct infer_client client;
    struct loop_timer timer; /* next try to connect, answer due, end due, or restart: by state */
    struct retry retry;
    int64_t started_ms;
    char said[LINE_MAX_BYTES + 1]; /* its last line */
};

struct supervisor {
    struct loop *loop;
    struct supervisor_settings settings;
    struct supervisor_hooks hooks;
    size_t count;
    struct infer infers[SLOT_COUNT_MAX];
    char runtime[32];
};

static void infer_start(struct infer *infer);

static void socket_path(const struct infer *infer, char out[SOCKET_SIZE])
{
    (void)snprintf(out, SOCKET_SIZE, "run/%s.sock", infer->model.slot);
}

/* ---- its end ---- */

static void infer_restart(void *user)
{
    infer_start(user);
}

static void restart_later(struct infer *infer)
{
    int64_t delay = retry_next_ms(&infer->retry, random_unit());
    infer->state = INFER_WAITING;
    loop_timer_set(infer->supervisor->loop, &infer->timer, delay, infer_restart, infer);
}

/* The process is gone, or was never there: tells, and plans the next start. */
static void infer_ended(struct infer *infer, const char *how)
{
    char detail[LINE_MAX_BYTES + 128];
    struct supervisor *s = infer->supervisor;
    struct supervisor_model model = infer->model; /* the hook may change it */
    bool was_ready = infer->state == INFER_READY;
    infer->good = false;
    restart_later(infer);
    (void)snprintf(detail, sizeof detail, "%s%s%s", how, infer->said[0] == '\0' ? "" : ": ", infer->said);
    log_warn("infer_exited", "slot=%s bundle=%.12s ready=%s detail=\"%s\"", model.slot, model.bundle,
             was_ready ? "true" : "false", detail);
    s->hooks.exited(s->hooks.user, model.slot, model.bundle, was_ready, detail);
}

static void child_done(void *user, int status)
{
    struct infer *infer = user;
    char how[64];
    infer_client_close(&infer->client);
    loop_timer_clear(infer->supervisor->loop, &infer->timer);
    if (infer->state == INFER_STOPPING) {
        infer->state = INFER_NONE;
        if (infer->wanted)
            infer_start(infer);
        return;
    }
    child_status_text(status, how, sizeof how);
    infer_ended(infer, how);
}

static void infer_kill(void *user)
{
    struct infer *infer = user;
    child_signal(&infer->child, SIGKILL);
}

/* Asks the process to end; what is wanted is started when it has. */
static void infer_end(struct infer *infer)
{
    struct loop *loop = infer->supervisor->loop;
    infer_client_close(&infer->client);
    infer->good = false;
    if (!child_running(&infer->child)) {
        loop_timer_clear(loop, &infer->timer);
        infer->state = INFER_NONE;
        return;
    }
    if (infer->state == INFER_STOPPING)
        return;
    infer->state = INFER_STOPPING;
    child_signal(&infer->child, SIGTERM);
    loop_timer_set(loop, &infer->timer, STOP_MAX_MS, infer_kill, infer);
}

/* ---- its answers ---- */

static void answer_missing(void *user)
{
    struct infer *infer = user;
    (void)snprintf(infer->said, sizeof infer->said, "no answer for %d s, killed",
                   (infer->state == INFER_READY ? ANSWER_MAX_MS : START_MAX_MS) / 1000);
    infer_kill(infer);
}

static void state_take(struct infer *infer, const json_t *json)
{
    struct supervisor *s = infer->supervisor;
    bool ready = false;
    if (json_get_bool(json, "ready", &ready, NULL) != ERR_OK || !ready)
        return;
    const char *runtime = json_text_or_null(json, "runtime");
    if (runtime != NULL)
        (void)text_copy(s->runtime, sizeof s->runtime, runtime);
    infer->state = INFER_READY;
    infer->good = text_eq(json_text_or_null(json, "model_sha256"), infer->model.sha256);
    loop_timer_clear(s->loop, &infer->timer);
    log_info("infer_ready", "slot=%s bundle=%.12s good=%s ms=%lld", infer->model.slot, infer->model.bundle,
             infer->good ? "true" : "false", (long long)(clock_mono_ms() - infer->started_ms));
    struct supervisor_model model = infer->model;
    s->hooks.ready(s->hooks.user, model.slot, model.bundle, infer->good);
}

static void client_answer(void *user, const json_t *json)
{
    struct infer *infer = user;
    struct supervisor *s = infer->supervisor;
    if (json == NULL) { /* its process is about to end, or is not worth keeping */
        child_signal(&infer->child, SIGTERM);
        loop_timer_set(s->loop, &infer->timer, STOP_MAX_MS, infer_kill, infer);
        return;
    }
    if (infer->state == INFER_STARTING) {
        state_take(infer, json);
        return;
    }
    loop_timer_clear(s->loop, &infer->timer);
    if (infer->state != INFER_READY || !infer->good)
        return;
    retry_reset(&infer->retry);
    struct supervisor_model model = infer->model;
    s->hooks.window(s->hooks.user, model.slot, model.bundle, json);
}

/* ---- its start ---- */

static void connect_try(void *user)
{
    struct infer *infer = user;
    char path[SOCKET_SIZE];
    socket_path(infer, path);
    if (clock_mono_ms() - infer->started_ms > START_MAX_MS) {
        answer_missing(infer);
        return;
    }
    loop_timer_set(infer->supervisor->loop, &infer->timer, CONNECT_EVERY_MS, connect_try, infer);
    if (!infer_client_connected(&infer->client) && infer_client_connect(&infer->client, path) != ERR_OK)
        return;
    /* While an answer is due, asking is refused, and that is fine. */
    if (infer_client_ask(&infer->client, "state") == ERR_UNAVAILABLE)
        infer_client_close(&infer->client);
}

static void child_line(void *user, char *text)
{
    struct infer *infer = user;
    (void)text_copy(infer->said, sizeof infer->said, text);
    log_info("infer_says", "slot=%s %s", infer->model.slot, text);
}

static enum err child_run(struct infer *infer, struct err_info *info)
{
    const struct supervisor_settings *s = &infer->supervisor->settings;
    char path[SOCKET_SIZE];
    char rate[32];
    const char *argv[16] = {s->program, "--model", infer->model.model, "--manifest", infer->model.manifest,
                            "--socket", path};
    size_t n = 7;
    socket_path(infer, path);
    (void)unlink(path);
    (void)snprintf(rate, sizeof rate, "%g", s->source_rate);
    if (s->source[0] != '\0') {
        argv[n++] = "--source";
        argv[n++] = s->source;
        argv[n++] = "--rate";
        argv[n++] = rate;
    }
    if (s->onnxruntime[0] != '\0') {
        argv[n++] = "--onnxruntime";
        argv[n++] = s->onnxruntime;
    }
    struct child_spec spec = {.argv = argv,
                              .output = CHILD_STDOUT_AND_STDERR,
                              .line_max = LINE_MAX_BYTES,
                              .line = child_line,
                              .done = child_done,
                              .user = infer};
    return child_start(&infer->child, infer->supervisor->loop, &spec, info);
}

static void start_failed(void *user)
{
    struct infer *infer = user;
    infer_ended(infer, "not started");
}

static void infer_start(struct infer *infer)
{
    struct err_info info = {0};
    struct loop *loop = infer->supervisor->loop;
    infer->said[0] = '\0';
    infer->state = INFER_STARTING;
    infer->started_ms = clock_mono_ms();
    if (child_run(infer, &info) != ERR_OK) {
        (void)text_copy(infer->said, sizeof infer->said, info.text);
        loop_timer_set(loop, &infer->timer, 0, start_failed, infer); /* hooks are never called from inside a call */
        return;
    }
    loop_timer_set(loop, &infer->timer, CONNECT_EVERY_MS, connect_try, infer);
}

/* ---- the supervisor ---- */

static struct infer *infer_find(struct supervisor *s, const char *slot)
{
    for (size_t i = 0; i < s->count; i++)
        if (text_eq(s->infers[i].model.slot, slot))
            return &s->infers[i];
    return NULL;
}

static struct infer *infer_add(struct supervisor *s, const char *slot)
{
    if (s->count == SLOT_COUNT_MAX)
        return NULL;
    struct infer *infer = &s->infers[s->count++];
    *infer = (struct infer){.supervisor = s};
    (void)text_copy(infer->model.slot, sizeof infer->model.slot, slot);
    infer_client_init(&infer->client, s->loop, client_answer, infer);
    return infer;
}

enum err supervisor_run(struct supervisor *supervisor, const struct supervisor_model *model)
{
    struct infer *infer = infer_find(supervisor, model->slot);
    if (infer == NULL)
        infer = infer_add(supervisor, model->slot);
    if (infer == NULL)
        return ERR_TOO_LARGE;
    if (infer->wanted && text_eq(infer->model.bundle, model->bundle) && text_eq(infer->model.model, model->model))
        return ERR_OK;
    infer_end(infer);
    infer->model = *model;
    infer->wanted = true;
    infer->retry = RETRY_INIT(RESTART_FIRST_MS, RESTART_MOST_MS, 0.2);
    if (infer->state == INFER_NONE)
        infer_start(infer);
    return ERR_OK;
}

void supervisor_stop(struct supervisor *supervisor, const char *slot)
{
    struct infer *infer = infer_find(supervisor, slot);
    if (infer == NULL)
        return;
    infer->wanted = false;
    infer_end(infer);
}

const char *supervisor_running(const struct supervisor *supervisor, const char *slot)
{
    const struct infer *infer = infer_find((struct supervisor *)supervisor, slot);
    return infer != NULL && infer->state == INFER_READY && infer->good ? infer->model.bundle : NULL;
}

const char *supervisor_runtime(const struct supervisor *supervisor)
{
    return supervisor->runtime;
}

void supervisor_collect(struct supervisor *supervisor, const char *slot)
{
    for (size_t i = 0; i < supervisor->count; i++) {
        struct infer *infer = &supervisor->infers[i];
        if (infer->state != INFER_READY || (slot != NULL && !text_eq(slot, infer->model.slot)))
            continue;
        if (infer_client_ask(&infer->client, "take") == ERR_OK)
            loop_timer_set(supervisor->loop, &infer->timer, ANSWER_MAX_MS, answer_missing, infer);
    }
}

enum err supervisor_open(struct loop *loop, const struct supervisor_settings *settings,
                         const struct supervisor_hooks *hooks, struct supervisor **ret_supervisor)
{
    struct supervisor *s = calloc(1, sizeof *s);
    if (s == NULL)
        return ERR_NO_MEMORY;
    s->loop = loop;
    s->settings = *settings;
    s->hooks = *hooks;
    *ret_supervisor = s;
    return ERR_OK;
}

void supervisor_close(struct supervisor *supervisor)
{
    if (supervisor == NULL)
        return;
    struct pollfd ends[SLOT_COUNT_MAX];
    int64_t deadline = clock_mono_ms() + STOP_MAX_MS;
    for (size_t i = 0; i < supervisor->count; i++)
        child_signal(&supervisor->infers[i].child, SIGTERM);
    for (size_t i = 0; i < supervisor->count; i++) {
        struct infer *infer = &supervisor->infers[i];
        int64_t left = deadline - clock_mono_ms();
        ends[i] = (struct pollfd){.fd = infer->child.pidfd, .events = POLLIN};
        if (child_running(&infer->child))
            (void)poll(&ends[i], 1, left > 0 ? (int)left : 0);
        child_destroy(&infer->child);
        infer_client_close(&infer->client);
        loop_timer_clear(supervisor->loop, &infer->timer);
    }
    free(supervisor);
}
