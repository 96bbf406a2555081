#pragma once
#include "cli/command.h"

/* Prints a problem or info of a failed command to stderr: what, why, next, request id. */
void error_print(const struct cli *cli, enum err e);
