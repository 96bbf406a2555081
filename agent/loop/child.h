#pragma once
/* Child processes of the loop: started with their input, watched by a pidfd, their output handed over line by line.
 * Children get no signal mask, no file descriptor beyond 0, 1 and 2, and the agent's working directory. Only the loop's
 * thread may call. */

#include "agent/loop/loop.h"
#include "common/base/buf.h"

#include <sys/types.h>

enum child_output { CHILD_STDOUT /* stderr stays the agent's */, CHILD_STDOUT_AND_STDERR };

struct child_spec {
    const char *const *argv; /* argv[0] is the path; NULL-terminated */
    const char *input;       /* all of its stdin, at most CHILD_INPUT_MAX bytes; NULL: /dev/null */
    enum child_output output;
    /* A session of its own, with the programs it starts: signals go to all of them, all are killed when the child has
     * ended, and it is killed when the agent ends, however that happens. Needs CHILD_STDOUT_AND_STDERR. */
    bool group;
    const char *dir;                /* working directory; NULL: the agent's. Of a group only */
    const char *const *environment; /* NULL: the agent's. Of a group only */
    size_t line_max;                /* longer lines lose their end */
    /* A line of output without its newline; text may be changed. Both callbacks may destroy the child, but line() must
     * not free the struct. */
    void (*line)(void *user, char *text);
    /* It has ended and all its lines were handed over; status as of waitpid(). The struct is free for a new start. */
    void (*done)(void *user, int status);
    void *user;
};

enum { CHILD_INPUT_MAX = 32 * 1024 };

struct child {
    struct loop *loop;
    pid_t pid; /* 0: not running */
    int pidfd, out;
    struct loop_watch exit_watch, out_watch;
    struct buf line;
    bool cut; /* the rest of a line that was too long is being skipped */
    struct child_spec spec;
};

/* ERR_NOT_FOUND, ERR_FORBIDDEN, ERR_TOO_LARGE, ERR_IO, ERR_NO_MEMORY with text in info. argv, input, dir and
 * environment are only read during the call. */
[[nodiscard]] enum err child_start(struct child *child, struct loop *loop, const struct child_spec *spec,
                                   struct err_info *info);

bool child_running(const struct child *child);

/* Sends a signal; nothing when it is not running. */
void child_signal(struct child *child, int signal);

/* Kills it and waits for its end, which is immediate unless the kernel holds it; no callback is called. */
void child_destroy(struct child *child);

/* Text for people: "exit status 1", "signal 9 (Killed)". */
void child_status_text(int status, char *out, size_t size);
