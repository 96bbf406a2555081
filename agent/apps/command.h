#pragma once
/* One command of an app (manifest: before, check, stop) with a time limit, in its own session, in the version's
 * directory. Only the loop's thread may call. */

#include "agent/apps/place.h"
#include "agent/loop/child.h"

enum { COMMAND_SAID_MAX = 200 };

/* How it ended. */
enum command_end { COMMAND_WELL, COMMAND_BADLY, COMMAND_LATE, COMMAND_NOT_STARTED };

/* Zero is a valid, idle state. */
struct command {
    struct loop *loop;
    struct child child;
    struct loop_timer timer;
    const char *name;
    char slot[SLOT_NAME_SIZE];
    enum command_end end;
    int timeout_s;
    char said[COMMAND_SAID_MAX + 1]; /* its last line */
    void (*done)(void *user, enum command_end end, const char *detail);
    void *user;
};

/* Starts it; done is called from the loop, exactly once unless command_cancel() comes first. name ("check") is for the
 * log and borrowed; version and words are only read now. detail is for people. */
void command_start(struct command *command, struct loop *loop, const char *name, const struct app_version *version,
                   const struct manifest_command *words,
                   void (*done)(void *user, enum command_end end, const char *detail), void *user);

bool command_running(const struct command *command);

/* Kills it with all it has started; done is not called. */
void command_cancel(struct command *command);

/* The self-test of an app, `before`; what has none passes. done gets NULL, or `command_failed` or `command_timeout`. */
struct app_test {
    struct command command;
    void (*done)(void *user, const char *code, const char *detail);
    void *user;
};
void app_selftest(struct app_test *test, struct loop *loop, const struct app_version *version,
                  void (*done)(void *user, const char *code, const char *detail), void *user);
