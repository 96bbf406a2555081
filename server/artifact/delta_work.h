#pragma once
/* The making of one delta bundle, in a process of its own (`musterd delta-make`, for no one to call by hand): at the
 * lowest priority, with a bound on its memory, and nothing of the server in it. What it made it also rebuilds and
 * compares, before anybody is offered it. */

#include "common/base/err.h"

#include <stdint.h>

#define DELTA_WORK_COMMAND "delta-make"

/* How the server starts it. fds are inherited; both are full bundles. */
struct delta_work {
    int old_fd, new_fd;
    const char *scratch; /* an empty directory for all its files; what it made is `delta` in it */
    const char *effort;  /* "fast" or "best" */
    int threads;         /* 0: one per core */
    int memory_mb;       /* of data */
    const char *trust_dir;
    int signatures;     /* different release keys that must have signed */
    const char *bundle; /* id of the new one */
};

/* The child's end: argv behind the command's name. Prints one line of JSON: {"size": …} or {"error": …}. Exit status.
 */
int delta_work_main(int argc, char **argv);

/* The server's end. */
struct delta_child {
    int pid;
    int out; /* its standard output */
};
[[nodiscard]] enum err delta_child_start(const struct delta_work *work, struct delta_child *ret_child,
                                         struct err_info *info);

/* Waits up to ms milliseconds for its end. ERR_TIMEOUT: it goes on. ERR_OK: ret_size is what it made; any other error
 * says why there is none, also that it was killed. After anything but ERR_TIMEOUT it is gone. */
[[nodiscard]] enum err delta_child_wait(struct delta_child *child, int ms, int64_t *ret_size, struct err_info *info);

/* Ends it now. */
void delta_child_kill(struct delta_child *child);
