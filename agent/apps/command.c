#include "agent/apps/command.h"

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/base/text.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

enum { LINE_MAX_BYTES = 400 };

static void command_line(void *user, char *text)
{
    struct command *command = user;
    text_printable(text);
    (void)text_copy(command->said, sizeof command->said, text);
    log_info("app_says", "slot=%s command=%s %s", command->slot, command->name, text);
}

static void command_finish(struct command *command, enum command_end end, const char *how)
{
    char detail[COMMAND_SAID_MAX + 128];
    (void)snprintf(detail, sizeof detail, "%s: %s%s%s", command->name, how, command->said[0] == '\0' ? "" : ": ",
                   command->said);
    loop_timer_clear(command->loop, &command->timer);
    command->done(command->user, end, detail);
}

static void command_done(void *user, int status)
{
    struct command *command = user;
    char how[64];
    child_status_text(status, how, sizeof how);
    if (command->end == COMMAND_LATE)
        (void)snprintf(how, sizeof how, "not ended within %d s", command->timeout_s);
    else
        command->end = WIFEXITED(status) && WEXITSTATUS(status) == 0 ? COMMAND_WELL : COMMAND_BADLY;
    command_finish(command, command->end, how);
}

static void command_late(void *user)
{
    struct command *command = user;
    command->end = COMMAND_LATE;
    child_signal(&command->child, SIGKILL);
}

static void not_started(void *user)
{
    command_finish(user, COMMAND_NOT_STARTED, "not started");
}

static void nothing_done(void *user)
{
    command_finish(user, COMMAND_WELL, "nothing to do");
}

void command_start(struct command *command, struct loop *loop, const char *name, const struct app_version *version,
                   const struct manifest_command *words,
                   void (*done)(void *user, enum command_end end, const char *detail), void *user)
{
    char data[VERSION_PATH_SIZE];
    struct err_info info = {0};
    const char *argv[MANIFEST_WORDS_MAX + 1] = {NULL};
    *command = (struct command){
        .loop = loop, .name = name, .timeout_s = version->manifest->app.timeout_s, .done = done, .user = user};
    (void)text_copy(command->slot, sizeof command->slot, version->slot);
    if (words->count == 0) {
        loop_timer_set(loop, &command->timer, 0, nothing_done, command);
        return;
    }
    for (size_t i = 0; i < words->count && i < MANIFEST_WORDS_MAX; i++)
        argv[i] = words->words[i];
    cleanup_free const char **environment = place_environment(version);
    struct child_spec spec = {.argv = argv,
                              .output = CHILD_STDOUT_AND_STDERR,
                              .group = true,
                              .dir = version->dir,
                              .environment = environment,
                              .line_max = LINE_MAX_BYTES,
                              .line = command_line,
                              .done = command_done,
                              .user = command};
    enum err e = environment == NULL ? ERR_NO_MEMORY : place_data(version->slot, data);
    if (e == ERR_OK)
        e = child_start(&command->child, loop, &spec, &info);
    if (e == ERR_OK) {
        loop_timer_set(loop, &command->timer, (int64_t)command->timeout_s * 1000, command_late, command);
        return;
    }
    (void)text_copy(command->said, sizeof command->said, info.text[0] != '\0' ? info.text : err_name(e));
    loop_timer_set(loop, &command->timer, 0, not_started, command);
}

bool command_running(const struct command *command)
{
    return child_running(&command->child) || loop_timer_is_set(&command->timer);
}

void command_cancel(struct command *command)
{
    if (command->loop == NULL)
        return;
    child_destroy(&command->child);
    loop_timer_clear(command->loop, &command->timer);
}

/* ---- the self-test ---- */

static void test_done(void *user, enum command_end end, const char *detail)
{
    struct app_test *test = user;
    const char *code = end == COMMAND_WELL ? NULL : end == COMMAND_LATE ? "command_timeout" : "command_failed";
    test->done(test->user, code, detail);
}

void app_selftest(struct app_test *test, struct loop *loop, const struct app_version *version,
                  void (*done)(void *user, const char *code, const char *detail), void *user)
{
    test->done = done;
    test->user = user;
    command_start(&test->command, loop, "before", version, &version->manifest->app.before, test_done, test);
}
