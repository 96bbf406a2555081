#pragma once
/* --effort, which every command that makes deltas has. */

#include "cli/command.h"

#include "common/delta/delta.h"

#define EFFORT_OPTION(usual)                                                                                           \
    {                                                                                                                  \
        "effort", OPTION_TEXT, "fast|best", "how hard to look for what is small (default: " usual ")", false, 0, 0     \
    }

/* The option's value; without it the fallback. */
[[nodiscard]] enum err effort_take(struct cli *cli, enum delta_effort fallback, enum delta_effort *ret_effort);
