#pragma once
/* The first thing muster-agent does: the installed program is the launcher of the versions in slots/agent. A version on
 * trial runs as the launcher's child, which takes it back when it is not well (guard.c); any other takes the launcher's
 * place by exec. What launcher and version say to each other, for good, because they may be of any two releases:
 *
 *   MUSTER_LAUNCHER=PATH   in the environment of a version: it was launched, by the program at PATH; "" otherwise
 *   MUSTER_GUARDED=1       ... as a child: it ends with LAUNCH_AGAIN where it would otherwise exec the launcher
 *   MUSTER_REFUSED=DIR     ... this version below slots/agent could not be executed, or not be taken back
 *
 * and the two files of trial.h. Neither is passed on to other programs. */

#include "agent/self/store.h"

enum {
    LAUNCH_AGAIN = 76, /* exit status of a guarded version: look again which one is to run */
    LAUNCH_BESIDE = -1 /* of guard_run() only: the version on trial could not be taken back */
};

/* How this process was started; owned by main() for its life. */
struct launch {
    int argc;
    char **argv;
    int start_dir;                /* fd of the working directory at the start; -1: unknown */
    char launcher[PATH_MAX];      /* the installed program, absolute */
    bool guarded;                 /* a guard watches this process */
    char refused[TRIAL_DIR_SIZE]; /* "": none */
};

/* Returns when this process itself is the agent: the installed one, or a version. Otherwise it becomes a version, or
 * stays as a guard, and does not return. A command ("status") or question ("--help") in argv never makes it a guard. */
void launch(int argc, char **argv, struct launch *ret_launch);

/* Another version is to run: everything is closed, and the working directory is the state directory. Does not return:
 * a guarded version ends, any other becomes the launcher. */
[[gnu::noreturn]] void launch_again(const struct launch *launch);

/* The version that the launcher would run now, as in decide(); "" is the installed one. Runs in the state directory. */
void launch_choice(const struct launch *launch, char ret_dir[TRIAL_DIR_SIZE]);

/* state_dir of the settings, as little as a launcher of any age can misunderstand; relative to the present working
 * directory if it is written so. ret_command: there is a word that is not a flag, or a question. */
void launch_state_dir(int argc, char **argv, char ret_dir[PATH_MAX], bool *ret_command);

/* ---- guard.c ---- */

/* Runs the trial's version from its program as a child until one of them ends, or it is taken back. The working
 * directory is the state directory. Returns an exit status; LAUNCH_AGAIN: decide anew; LAUNCH_BESIDE: it has failed,
 * but the disk still says that it is to run. */
int guard_run(const struct launch *launch, struct trial *trial, const char *program);

/* In a process that is about to be a version: the environment above, the working directory and signals of the start,
 * then exec. Returns when that is not possible. dir: below slots/agent; "": the launcher itself. */
void launch_exec(const struct launch *launch, const char *program, bool guarded);
