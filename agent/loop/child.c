#include "agent/loop/child.h"

#include "agent/loop/group.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

/* A pipe that already holds all of the child's input, or /dev/null: its reading end. */
static enum err input_open(const char *input, int *ret_fd)
{
    if (input == NULL) {
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return err_from_errno(errno);
        *ret_fd = fd;
        return ERR_OK;
    }
    size_t len = strlen(input);
    int ends[2];
    if (len > CHILD_INPUT_MAX) /* what a pipe holds without anybody reading */
        return ERR_TOO_LARGE;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return err_from_errno(errno);
    enum err e = file_write_fd(ends[1], input, len);
    (void)close(ends[1]);
    if (e != ERR_OK) {
        (void)close(ends[0]);
        return e;
    }
    *ret_fd = ends[0];
    return ERR_OK;
}

static int spawn_with(const struct child_spec *spec, int in, int out, pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigset_t pipe_only;
    int rc = posix_spawn_file_actions_init(&actions);
    if (rc != 0)
        return rc;
    rc = posix_spawnattr_init(&attributes);
    if (rc != 0) {
        (void)posix_spawn_file_actions_destroy(&actions);
        return rc;
    }
    (void)sigemptyset(&none);
    (void)sigemptyset(&pipe_only);
    (void)sigaddset(&pipe_only, SIGPIPE); /* the agent ignores it, its children do not */
    rc = posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    if (rc == 0 && spec->output == CHILD_STDOUT_AND_STDERR)
        rc = posix_spawn_file_actions_adddup2(&actions, out, STDERR_FILENO);
    if (rc == 0)
        rc = posix_spawnattr_setsigmask(&attributes, &none);
    if (rc == 0)
        rc = posix_spawnattr_setsigdefault(&attributes, &pipe_only);
    if (rc == 0)
        rc = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (rc == 0)
        rc = posix_spawn(ret_pid, spec->argv[0], &actions, &attributes, (char *const *)spec->argv, environ);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    return rc;
}

/* Hands over a finished line, or nothing when memory was short for it. */
static void line_emit(struct child *child)
{
    child->cut = false;
    if (child->line.data != NULL && child->line.len > 0)
        child->spec.line(child->spec.user, child->line.data);
    buf_clear(&child->line);
}

static void bytes_split(struct child *child, const char *bytes, size_t len)
{
    while (len > 0 && child->out >= 0) {
        const char *end = memchr(bytes, '\n', len);
        size_t n = end == NULL ? len : (size_t)(end - bytes);
        size_t room = child->line.max - child->line.len;
        if (!child->cut && buf_add(&child->line, bytes, n < room ? n : room) != ERR_OK)
            child->cut = true;
        if (n > room)
            child->cut = true;
        if (end == NULL)
            return;
        line_emit(child);
        bytes += n + 1;
        len -= n + 1;
    }
}

static void output_close(struct child *child)
{
    if (child->out < 0)
        return;
    loop_watch_clear(child->loop, &child->out_watch);
    (void)close(child->out);
    child->out = -1;
}

/* Reads what is there, but not for ever from a program that never stops talking; at the end of the output it is closed.
 */
static void output_read(struct child *child)
{
    enum { ROUNDS_MAX = 32 }; /* more than a pipe holds */
    char bytes[4096];
    for (int round = 0; round < ROUNDS_MAX && child->out >= 0; round++) {
        ssize_t n = read(child->out, bytes, sizeof bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            line_emit(child);
            output_close(child);
            return;
        }
        bytes_split(child, bytes, (size_t)n);
    }
}

static void output_ready(void *user, short revents)
{
    (void)revents;
    output_read(user);
}

static void child_reap(struct child *child, int *ret_status)
{
    *ret_status = 0;
    if (child->spec.group) /* until it is reaped its number cannot belong to another group */
        (void)kill(-child->pid, SIGKILL);
    while (waitpid(child->pid, ret_status, 0) < 0 && errno == EINTR)
        continue;
    loop_watch_clear(child->loop, &child->exit_watch);
    (void)close(child->pidfd);
    child->pidfd = -1;
    child->pid = 0;
}

static void exit_ready(void *user, short revents)
{
    (void)revents;
    struct child *child = user;
    output_read(child);
    if (child->pid == 0) /* the owner has destroyed it over its last words */
        return;
    if (child->out >= 0) { /* somebody else holds the other end: what it says is not this child's output */
        line_emit(child);
        output_close(child);
    }
    int status = 0;
    child_reap(child, &status);
    buf_free(&child->line);
    child->spec.done(child->spec.user, status);
}

static enum err child_watch(struct child *child, pid_t pid, int out)
{
    int pidfd = pidfd_open(pid, 0);
    if (pidfd < 0) {
        enum err e = err_from_errno(errno);
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        return e;
    }
    child->pid = pid;
    child->pidfd = pidfd;
    child->out = out;
    loop_watch_set(child->loop, &child->exit_watch, pidfd, POLLIN, exit_ready, child);
    loop_watch_set(child->loop, &child->out_watch, out, POLLIN, output_ready, child);
    return ERR_OK;
}

enum err child_start(struct child *child, struct loop *loop, const struct child_spec *spec, struct err_info *info)
{
    cleanup_fd int in = -1;
    cleanup_fd int write_end = -1;
    int ends[2];
    pid_t pid = 0;
    enum err e = input_open(spec->input, &in);
    if (e != ERR_OK)
        return err_set(info, e, "cannot prepare the input of %s: %s", spec->argv[0], err_name(e));
    if (pipe2(ends, O_CLOEXEC) != 0)
        return err_set(info, err_from_errno(errno), "cannot make a pipe: %s", strerror(errno));
    write_end = ends[1];
    int rc = fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0 ? 0 : errno;
    if (rc == 0)
        rc = spec->group ? group_spawn(spec, in, write_end, &pid) : spawn_with(spec, in, write_end, &pid);
    if (rc != 0) {
        (void)close(ends[0]);
        return err_set(info, err_from_errno(rc), "cannot start %s: %s", spec->argv[0], strerror(rc));
    }
    child->loop = loop;
    child->spec = *spec;
    child->spec.argv = NULL;
    child->spec.input = NULL;
    child->spec.dir = NULL;
    child->spec.environment = NULL;
    child->line = BUF_INIT(spec->line_max);
    child->cut = false;
    e = child_watch(child, pid, ends[0]);
    if (e != ERR_OK) {
        (void)close(ends[0]);
        return err_set(info, e, "cannot watch %s: %s", spec->argv[0], err_name(e));
    }
    return ERR_OK;
}

bool child_running(const struct child *child)
{
    return child->pid != 0;
}

void child_signal(struct child *child, int signal)
{
    if (child->pid != 0)
        (void)kill(child->spec.group ? -child->pid : child->pid,
                   signal); /* not reaped yet, so the id is still its own */
}

void child_destroy(struct child *child)
{
    if (child->pid == 0)
        return;
    int status = 0;
    child_signal(child, SIGKILL);
    output_close(child);
    child_reap(child, &status);
    buf_free(&child->line);
}

void child_status_text(int status, char *out, size_t size)
{
    if (WIFSIGNALED(status))
        (void)snprintf(out, size, "signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        (void)snprintf(out, size, "exit status %d", WEXITSTATUS(status));
}
