#include "agent/loop/group.h"

#include "common/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXIT_NOT_STARTED = 127 };

/* In the child: everything until the exec. Returns an errno; not at all when it has worked. */
static int group_become(const struct child_spec *spec, int in, int out, pid_t parent)
{
    sigset_t none;
    (void)sigemptyset(&none);
    if (setsid() < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        return errno;
    if (getppid() != parent) /* it has died before it could be told apart */
        return ESRCH;
    if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 || dup2(out, STDERR_FILENO) < 0)
        return errno;
    if (spec->dir != NULL && chdir(spec->dir) != 0)
        return errno;
    (void)close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC); /* all are, unless a library has forgotten */
    (void)signal(SIGPIPE, SIG_DFL);
    if (sigprocmask(SIG_SETMASK, &none, NULL) != 0)
        return errno;
    (void)execve(spec->argv[0], (char *const *)spec->argv,
                 spec->environment != NULL ? (char *const *)spec->environment : environ);
    return errno;
}

int group_spawn(const struct child_spec *spec, int in, int out, pid_t *ret_pid)
{
    int ends[2];
    int error = 0;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return errno;
    cleanup_fd int read_end = ends[0];
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        error = group_become(spec, in, out, parent);
        (void)!write(ends[1], &error, sizeof error);
        _exit(EXIT_NOT_STARTED);
    }
    if (pid < 0)
        error = errno;
    (void)close(ends[1]);
    if (pid < 0)
        return error;
    ssize_t n = 0;
    do /* ends with the exec, which closes the pipe, or with the error */
        n = read(read_end, &error, sizeof error);
    while (n < 0 && errno == EINTR);
    if (n == 0) {
        *ret_pid = pid;
        return 0;
    }
    (void)kill(pid, SIGKILL); /* should the pipe itself have failed, it runs */
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    return n == (ssize_t)sizeof error ? error : EIO;
}
