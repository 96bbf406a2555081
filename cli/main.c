/* musterctl, as it is started: it works with deltas itself, and becomes musterctl-full (cli/full/main.c) for everything
 * else. The libraries of that, for HTTPS and archives, are 46; they take 20 ms to load and 57 MiB of address space, and
 * a rebuild is done sooner, and has to work within 64 MiB. */
#include "cli/commands.h"
#include "cli/run.h"

#include "common/base/cleanup.h"
#include "common/base/process.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct command *const tables[] = {commands_delta, NULL};

static bool is_delta_command(int argc, char **argv)
{
    cleanup_free char **ordered = calloc((size_t)argc + 1, sizeof *ordered);
    int words = 0;
    if (ordered == NULL)
        return false;
    int command = settings_first(argc, argv, ordered);
    return command_find(tables, argc - command, ordered + command, &words) != NULL;
}

static int full_become(char **argv)
{
    char here[PATH_MAX];
    char program[PATH_MAX];
    if (!process_exe(here) || !process_beside(here, "musterctl-full", program)) {
        (void)fputs("musterctl: musterctl-full is neither beside it nor in ../libexec/muster\n"
                    "  next:    Install Muster again.\n",
                    stderr);
        return 1;
    }
    (void)execv(program, argv);
    (void)fprintf(stderr, "musterctl: cannot run %s: %s\n", program, strerror(errno));
    return 1;
}

int main(int argc, char **argv)
{
    return is_delta_command(argc, argv) ? cli_run(tables, argc, argv) : full_become(argv);
}
