#pragma once
/* muster-agent's commands for people at the device: `status` and `rollback SLOT`. They ask the running agent, and
 * without one look into its files. */

#include "common/base/conf.h"

/* The command among the words of argv, "" when there is none and an agent is to be started. Flags and their values, as
 * program has them, may stand before and after it. Borrowed from argv. */
const char *local_command(const struct conf_program *program, int argc, char **argv);

/* Does it; what is wrong is said on stderr. The exit status: 0; 1: it could not be done; 64: wrong use. */
int local_run(const struct conf_program *program, int argc, char **argv);
