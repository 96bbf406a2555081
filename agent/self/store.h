#pragma once
/* The agent's own versions on the disk, as a launcher of any version has to see them: it reads no more of a manifest
 * than it must, because it may be older than what has made it. Paths are relative to the working directory, the state
 * directory. All block. */

#include "agent/self/decide.h"

#include <limits.h>

/* A snapshot of what decide() needs, with its memory. */
struct store_facts {
    struct decide_facts facts;
    struct trial trial;
    struct verdict verdict;
    char current[TRIAL_DIR_SIZE], previous[TRIAL_DIR_SIZE];
};
void store_read(struct store_facts *ret_facts);

/* The version below slots/agent has all its files as its manifest lists them, and its program can be executed: the
 * program's path. ERR_CORRUPT, ERR_NOT_FOUND, ERR_IO. */
[[nodiscard]] enum err store_program(const char *dir, char ret_program[PATH_MAX]);

/* ERR_NOT_FOUND, ERR_CORRUPT. */
[[nodiscard]] enum err store_trial(struct trial *ret_trial);
[[nodiscard]] enum err store_verdict(struct verdict *ret_verdict);
/* Durable when they return. */
[[nodiscard]] enum err store_trial_put(const struct trial *trial);
[[nodiscard]] enum err store_verdict_put(const struct verdict *verdict);
[[nodiscard]] enum err store_trial_remove(void);
[[nodiscard]] enum err store_verdict_remove(void);

/* Takes a trial back: the verdict, then the link, then the end of the trial; can be repeated. Goes on when the verdict
 * cannot be written. ERR_* when the link could not be changed. */
[[nodiscard]] enum err store_back(const struct trial *trial, const struct verdict *verdict);
