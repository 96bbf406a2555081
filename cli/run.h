#pragma once
#include "cli/command.h"

/* One run of musterctl: settings, one command of the tables, its error for people. Returns the exit status: 0 done,
 * 1 refused or failed, 2 called wrongly. */
int cli_run(const struct command *const *tables, int argc, char **argv);
