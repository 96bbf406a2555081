#include "cli/rebuild.h"

#include "common/base/cleanup.h"
#include "common/base/process.h"
#include "common/base/text.h"
#include "common/delta/delta.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ANSWER_MAX = ERR_CODE_MAX + 2 * ERR_TEXT_MAX + 3 };

/* In the child: never returns. */
[[gnu::noreturn]] static void child_become(const char *program, const int fds[3], int answer)
{
    char numbers[3][16];
    bool good = dup2(answer, STDOUT_FILENO) >= 0;
    for (int i = 0; i < 3; i++) {
        (void)snprintf(numbers[i], sizeof numbers[i], "%d", fds[i]);
        good = good && fcntl(fds[i], F_SETFD, 0) == 0;
    }
    if (good)
        (void)execl(program, "muster-delta", numbers[0], numbers[1], numbers[2], (char *)NULL);
    _exit(ERR_INTERNAL);
}

/* All that the child says, as a string. */
static void answer_read(int fd, char out[ANSWER_MAX])
{
    size_t len = 0;
    for (;;) {
        ssize_t n = read(fd, out + len, ANSWER_MAX - 1 - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    out[len] = '\0';
}

/* Three lines: code, text, what to do. */
static void answer_parse(char *answer, struct err_info *info)
{
    char *rest = answer;
    char *code = strsep(&rest, "\n");
    char *text = strsep(&rest, "\n");
    char *next = strsep(&rest, "\n");
    if (info == NULL || text == NULL)
        return;
    (void)text_copy(info->code, sizeof info->code, code);
    (void)text_copy(info->text, sizeof info->text, text);
    (void)text_copy(info->next, sizeof info->next, next == NULL ? "" : next);
}

static enum err child_end(pid_t child, char *answer, struct err_info *info)
{
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return err_set(info, ERR_INTERNAL, "muster-delta cannot be waited for: %s", strerror(errno));
    if (!WIFEXITED(status))
        return err_set(info, ERR_INTERNAL, "muster-delta was ended by signal %d", WTERMSIG(status));
    enum err e = WEXITSTATUS(status) < ERR_COUNT_ ? (enum err)WEXITSTATUS(status) : ERR_INTERNAL;
    if (e != ERR_OK)
        answer_parse(answer, info);
    return e;
}

enum err rebuild(int old_fd, int delta_fd, int out_fd, struct err_info *info)
{
    char here[PATH_MAX];
    char program[PATH_MAX];
    char answer[ANSWER_MAX];
    int ends[2];
    if (!process_exe(here) || !process_beside(here, "muster-delta", program))
        return delta_apply(old_fd, delta_fd, out_fd, NULL, info);
    if (pipe2(ends, O_CLOEXEC) != 0)
        return err_set(info, err_from_errno(errno), "cannot make a pipe: %s", strerror(errno));
    cleanup_fd int from = ends[0];
    pid_t child = fork();
    if (child == 0)
        child_become(program, (const int[3]){old_fd, delta_fd, out_fd}, ends[1]);
    (void)close(ends[1]);
    if (child < 0)
        return err_set(info, err_from_errno(errno), "cannot start muster-delta: %s", strerror(errno));
    answer_read(from, answer);
    return child_end(child, answer, info);
}
