#include "agent/supervise/selftest.h"

#include "common/base/log.h"
#include "common/base/text.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

enum {
    AGENT_LIMIT_S = 20,
    MODEL_LIMIT_S = 120,      /* to load a large model and run its samples, at low priority */
    INFER_RUNTIME_STATUS = 3, /* of muster-infer: ONNX Runtime is missing or too old (muster-infer.8) */
    TEST_PATH_SIZE = 512
};

/* ---- any child ---- */

static void test_line(void *user, char *text)
{
    struct selftest *test = user;
    (void)text_copy(test->said, sizeof test->said, text);
    log_info("selftest_says", "%s", text);
}

/* Its last line without its own name. */
static const char *said_text(const struct selftest *test)
{
    static const char name[] = "muster-infer: ";
    return test->said + (text_starts(test->said, name) ? sizeof name - 1 : 0);
}

static void test_ended(void *user, int status)
{
    struct selftest *test = user;
    char how[64] = "";
    char detail[SELFTEST_LINE_MAX + 128];
    loop_timer_clear(test->loop, &test->limit);
    const char *code = test->late ? "selftest_failed" : test->judge(status);
    if (test->late)
        (void)snprintf(how, sizeof how, "it was not done after %d s", test->limit_s);
    else if (code != NULL && (WIFSIGNALED(status) || test->said[0] == '\0')) /* else it has said why */
        child_status_text(status, how, sizeof how);
    (void)snprintf(detail, sizeof detail, "%s%s%s", how, how[0] != '\0' && test->said[0] != '\0' ? ": " : "",
                   said_text(test));
    test->done(test->user, code, detail);
}

static void test_late(void *user)
{
    struct selftest *test = user;
    test->late = true;
    child_signal(&test->child, SIGKILL);
}

/* Runs argv with a limit of time; the end is judged by test->judge. */
static enum err test_run(struct selftest *test, const char *const *argv, int limit_s, struct err_info *info)
{
    struct child_spec spec = {.argv = argv,
                              .output = CHILD_STDOUT_AND_STDERR,
                              .line_max = SELFTEST_LINE_MAX,
                              .line = test_line,
                              .done = test_ended,
                              .user = test};
    enum err e = child_start(&test->child, test->loop, &spec, info);
    if (e != ERR_OK)
        return e;
    test->limit_s = limit_s;
    loop_timer_set(test->loop, &test->limit, (int64_t)limit_s * 1000, test_late, test);
    return ERR_OK;
}

/* ---- models ---- */

static const char *model_judge(int status)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return NULL;
    bool runtime = WIFEXITED(status) && WEXITSTATUS(status) == INFER_RUNTIME_STATUS;
    return runtime ? "runtime_unfit" : "selftest_failed";
}

/* A second muster-infer loads the model, runs it and ends (muster-infer.8, --self-test). */
static enum err model_test(struct selftest *test, const struct selftest_setup *setup, const struct manifest *manifest,
                           const char *dir, struct err_info *info)
{
    char model[TEST_PATH_SIZE];
    char path[TEST_PATH_SIZE];
    const char *argv[9] = {setup->infer_path, "--self-test", "--model", model, "--manifest", path};
    int n = snprintf(model, sizeof model, "%s/%s", dir, manifest->model.file);
    int m = snprintf(path, sizeof path, "%s/" MANIFEST_NAME, dir);
    if (n < 0 || m < 0 || (size_t)n >= sizeof model || (size_t)m >= sizeof path)
        return err_set(info, ERR_TOO_LARGE, "the model's path is too long");
    if (setup->onnxruntime[0] != '\0') {
        argv[6] = "--onnxruntime";
        argv[7] = setup->onnxruntime;
    }
    test->judge = model_judge;
    return test_run(test, argv, MODEL_LIMIT_S, info);
}

/* ---- apps ---- */

static void app_done(void *user, const char *code, const char *detail)
{
    struct selftest *test = user;
    test->done(test->user, code, detail);
}

/* Its own command `before`. */
static enum err app_test_start(struct selftest *test, struct manifest *manifest, const char *slot, const char *dir)
{
    struct app_version version = {.manifest = manifest};
    (void)text_copy(version.slot, sizeof version.slot, slot);
    (void)text_copy(version.dir, sizeof version.dir, dir);
    app_selftest(&test->app, test->loop, &version, app_done, test);
    return ERR_OK;
}

/* ---- the agent's own ---- */

static const char *agent_judge(int status)
{
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? NULL : "selftest_failed";
}

/* It can be executed here, with all its libraries; the rest shows in its probation. */
static enum err agent_test(struct selftest *test, const struct manifest *manifest, const char *dir,
                           struct err_info *info)
{
    char program[TEST_PATH_SIZE];
    const char *argv[] = {program, "--version", NULL};
    int n = snprintf(program, sizeof program, "%s/%s", dir, manifest->agent.program);
    if (n < 0 || (size_t)n >= sizeof program)
        return err_set(info, ERR_TOO_LARGE, "the program's path is too long");
    test->judge = agent_judge;
    return test_run(test, argv, AGENT_LIMIT_S, info);
}

/* ---- one test ---- */

enum err selftest_start(struct selftest *test, struct loop *loop, const struct selftest_setup *setup,
                        struct manifest *manifest, const char *slot, const char *dir,
                        void (*done)(void *user, const char *code, const char *detail), void *user,
                        struct err_info *info)
{
    *test = (struct selftest){.loop = loop, .done = done, .user = user};
    switch (manifest->kind) {
    case MANIFEST_MODEL:
        return model_test(test, setup, manifest, dir, info);
    case MANIFEST_APP:
        return app_test_start(test, manifest, slot, dir);
    case MANIFEST_AGENT:
        return agent_test(test, manifest, dir, info);
    }
    return err_set(info, ERR_UNSUPPORTED, "there is no self-test for bundles of kind %s",
                   manifest_kind_name(manifest->kind));
}

bool selftest_running(const struct selftest *test)
{
    return child_running(&test->child) || command_running(&test->app.command);
}

void selftest_cancel(struct selftest *test)
{
    if (test->loop != NULL)
        loop_timer_clear(test->loop, &test->limit);
    child_destroy(&test->child);
    command_cancel(&test->app.command);
}
