#include "server/artifact/delta_work.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/json.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

enum { ANSWER_MAX = 4096 };

static const char SELF[] = "/proc/self/exe"; /* the program that runs, also when its file was replaced meanwhile */

/* Files and signals of the child: none of the server's but the two bundles and its standard output. */
static int spawn_prepare(const struct delta_work *work, int out, posix_spawn_file_actions_t *files,
                         posix_spawnattr_t *attr)
{
    sigset_t none;
    sigset_t pipe_signal;
    (void)sigemptyset(&none);
    (void)sigemptyset(&pipe_signal);
    (void)sigaddset(&pipe_signal, SIGPIPE);
    int rc = posix_spawn_file_actions_adddup2(files, out, STDOUT_FILENO);
    if (rc == 0) /* onto itself: it is inherited */
        rc = posix_spawn_file_actions_adddup2(files, work->old_fd, work->old_fd);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(files, work->new_fd, work->new_fd);
    if (rc == 0)
        rc = posix_spawnattr_setsigmask(attr, &none);
    if (rc == 0)
        rc = posix_spawnattr_setsigdefault(attr, &pipe_signal);
    return rc != 0 ? rc : posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
}

static int spawn(const struct delta_work *work, int out, pid_t *ret_pid)
{
    char numbers[5][16];
    const int values[5] = {work->old_fd, work->new_fd, work->threads, work->memory_mb, work->signatures};
    for (size_t i = 0; i < 5; i++)
        (void)snprintf(numbers[i], sizeof numbers[i], "%d", values[i]);
    union {
        const char *words[12];
        char *argv[12]; /* posix_spawn writes none of them */
    } call = {.words = {"musterd", DELTA_WORK_COMMAND, numbers[0], numbers[1], work->scratch, work->effort, numbers[2],
                        numbers[3], work->trust_dir, numbers[4], work->bundle, NULL}};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    (void)posix_spawn_file_actions_init(&files);
    (void)posix_spawnattr_init(&attr);
    int rc = spawn_prepare(work, out, &files, &attr);
    if (rc == 0)
        rc = posix_spawn(ret_pid, SELF, &files, &attr, call.argv, environ);
    (void)posix_spawnattr_destroy(&attr);
    (void)posix_spawn_file_actions_destroy(&files);
    return rc;
}

enum err delta_child_start(const struct delta_work *work, struct delta_child *ret_child, struct err_info *info)
{
    int ends[2];
    pid_t pid = 0;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return err_set(info, err_from_errno(errno), "no pipe for the delta maker: %s", strerror(errno));
    int rc = spawn(work, ends[1], &pid);
    (void)close(ends[1]);
    if (rc != 0) {
        (void)close(ends[0]);
        return err_set(info, err_from_errno(rc), "the delta maker cannot be started: %s", strerror(rc));
    }
    *ret_child = (struct delta_child){.pid = pid, .out = ends[0]};
    return ERR_OK;
}

/* Waits for its death, which is near: its output has ended, or it was killed. */
static int child_reap(struct delta_child *child)
{
    int status = 0;
    while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    (void)close(child->out);
    *child = (struct delta_child){.pid = -1, .out = -1};
    return status;
}

static enum err answer_judge(const char *text, size_t len, int status, int64_t *ret_size, struct err_info *info)
{
    json_auto_t *json = NULL;
    if (WIFSIGNALED(status))
        return err_set(info, ERR_INTERNAL, "the delta maker was ended by signal %d (%s)", WTERMSIG(status),
                       strsignal(WTERMSIG(status)));
    if (json_parse(text, len, ANSWER_MAX, &json, NULL) != ERR_OK)
        return err_set(info, ERR_INTERNAL, "the delta maker ended with status %d and said nothing",
                       WEXITSTATUS(status));
    const char *error = json_text_or_null(json, "error");
    if (error != NULL)
        return err_set(info, ERR_INTERNAL, "%s", error);
    return json_get_id(json, "size", 1, ret_size, info);
}

enum err delta_child_wait(struct delta_child *child, int ms, int64_t *ret_size, struct err_info *info)
{
    char text[ANSWER_MAX + 1];
    size_t len = 0;
    struct pollfd ready = {.fd = child->out, .events = POLLIN};
    if (poll(&ready, 1, ms) <= 0)
        return ERR_TIMEOUT;
    while (len < ANSWER_MAX) {
        ssize_t n = read(child->out, text + len, ANSWER_MAX - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    return answer_judge(text, len, child_reap(child), ret_size, info);
}

void delta_child_kill(struct delta_child *child)
{
    if (child->pid <= 0)
        return;
    (void)kill(child->pid, SIGKILL);
    (void)child_reap(child);
}
