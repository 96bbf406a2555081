/* muster-infer: runs one model for the agent. See docs/man/muster-infer.8. */
#include "agent/infer/schedule.h"
#include "agent/infer/service.h"
#include "agent/infer/trial.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/conf.h"
#include "common/base/json.h"
#include "common/base/log.h"
#include "common/base/process.h"
#include "common/base/text.h"
#include "common/base/version.h"
#include "common/local/control.h"

#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>

/* Exit statuses, as in the manual. */
enum { EXIT_OPTIONS = 2, EXIT_RUNTIME = 3, EXIT_MODEL = 4, EXIT_TRIAL = 5 };

static const struct conf_option options[] = {
    {"model", CONF_PATH, NULL, 0, 0, "the model, an ONNX file"},
    {"manifest", CONF_PATH, "", 0, 0, "manifest.json of its bundle: digest, input shape and drift profile"},
    {"socket", CONF_PATH, "", 0, 0, "unix socket to answer the agent on; needed unless self_test is given"},
    {"self_test", CONF_BOOL, "false", 0, 0, "try the model on the samples of its bundle, or on zeros, and end"},
    {"source", CONF_PATH, "", 0, 0, "float32 samples, little-endian, back to back; replayed round and round"},
    {"rate", CONF_NUMBER, "10", 0.001, 10000, "samples per second"},
    {"onnxruntime", CONF_PATH, "", 0, 0, "libonnxruntime.so to load; else the per-user cache, then the system's"},
};

static const struct conf_program program = {
    .name = "muster-infer",
    .usage = "muster-infer --model FILE (--socket PATH | --self-test) [OPTIONS]",
    .summary =
        "Runs one model with ONNX Runtime on the samples of a file, and tells muster-agent what it runs, how fast,\n"
        "and how its inputs compare with the model's drift profile. It ends when its parent does.",
    .options = options,
    .count = sizeof options / sizeof *options,
};

/* The one line on stderr. */
static int fail(int status, const struct err_info *info, enum err e)
{
    (void)fprintf(stderr, "muster-infer: %s%s%s\n", *info->text != '\0' ? info->text : err_name(e),
                  *info->next != '\0' ? "; " : "", info->next);
    return status;
}

static int stop_signals(void)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Clients are served while the next sample is not due, and at least once between two inferences. */
static enum err serve(struct service *service, struct control *control, double rate, int stop_fd)
{
    bool runs = service_samples(service) > 0;
    struct schedule schedule = schedule_start(clock_mono_us(), rate);
    bool stop = false;
    while (!stop) {
        int64_t due_us = runs ? schedule_due_us(&schedule) : INT64_MAX;
        enum err e = control_serve(control, due_us, stop_fd, &stop);
        if (e != ERR_OK)
            return e;
        int64_t waiting = runs && !stop ? schedule_waiting(&schedule, clock_mono_us()) : 0;
        if (waiting > 0)
            service_infer(service, schedule_take(&schedule), waiting);
    }
    return ERR_OK;
}

static int run(const struct conf *conf)
{
    struct err_info info = {0};
    cleanup_fd int stop_fd = stop_signals();
    cleanup_service struct service *service = NULL;
    const struct service_settings settings = {.model = conf_text(conf, "model"),
                                              .manifest = conf_text(conf, "manifest"),
                                              .source = conf_text(conf, "source"),
                                              .onnxruntime = conf_text(conf, "onnxruntime")};
    enum err e = service_open(&settings, &service, &info);
    if (e != ERR_OK)
        return fail(text_starts(info.code, "runtime_") ? EXIT_RUNTIME : EXIT_MODEL, &info, e);
    struct control *control = NULL;
    e = control_open(conf_text(conf, "socket"), service_answer, service, &control, &info);
    if (e == ERR_OK)
        e = serve(service, control, conf_number(conf, "rate"), stop_fd);
    (void)control_close(control);
    return e == ERR_OK ? EXIT_SUCCESS : fail(EXIT_FAILURE, &info, e);
}

static int try_out(const struct conf *conf)
{
    char text[TRIAL_TEXT_MAX];
    struct err_info info = {0};
    const struct load_settings settings = {.model = conf_text(conf, "model"),
                                           .manifest = conf_text(conf, "manifest"),
                                           .onnxruntime = conf_text(conf, "onnxruntime")};
    process_yield();
    enum err e = trial_run(&settings, text, &info);
    if (e != ERR_OK)
        return fail(text_starts(info.code, "runtime_") ? EXIT_RUNTIME : EXIT_TRIAL, &info, e);
    (void)puts(text);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    if (!process_follow_parent()) /* a model without an agent would run unwatched */
        return EXIT_FAILURE;
    json_start();
    struct conf *conf = NULL;
    struct err_info info = {0};
    int rest = 0;
    char ask = 0;
    enum err e = conf_load(&program, argc, argv, &conf, &rest, &ask, &info);
    if (e == ERR_OK && ask == 0 && rest < argc)
        e = err_set(&info, ERR_INVALID, "unexpected word \"%.80s\"; `muster-infer --help` lists the options",
                    argv[rest]);
    if (e == ERR_OK && ask == 0 && !conf_bool(conf, "self_test") && *conf_text(conf, "socket") == '\0')
        e = err_field(&info, ERR_INVALID, "socket", "socket: a path is needed, unless --self-test is given");
    int status = EXIT_SUCCESS;
    if (e != ERR_OK)
        status = fail(EXIT_OPTIONS, &info, e);
    else if (ask == 'h')
        conf_help(&program);
    else if (ask == 'v')
        (void)printf("muster-infer %s\n", MUSTER_VERSION);
    else if (conf_bool(conf, "self_test"))
        status = try_out(conf);
    else
        status = run(conf);
    conf_free(conf);
    return status;
}
