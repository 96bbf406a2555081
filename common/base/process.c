#include "common/base/process.h"

#include "common/base/cleanup.h"
#include "common/base/file.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

enum { NICE = 10 };

bool process_exe(char ret_path[PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", ret_path, PATH_MAX - 1);
    ret_path[n > 0 ? n : 0] = '\0';
    return n > 0;
}

bool process_beside(const char *path, const char *name, char ret_path[PATH_MAX])
{
    static const char *const places[] = {"", "../libexec/muster/"};
    const char *slash = strrchr(path, '/');
    for (size_t i = 0; slash != NULL && i < sizeof places / sizeof places[0]; i++)
        if (snprintf(ret_path, PATH_MAX, "%.*s/%s%s", (int)(slash - path), path, places[i], name) < PATH_MAX &&
            access(ret_path, X_OK) == 0)
            return true;
    return false;
}

void process_yield(void)
{
    static const char score[] = "500\n"; /* of 1000 */
    cleanup_fd int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    (void)setpriority(PRIO_PROCESS, 0, NICE);
    if (fd >= 0 && file_write_fd(fd, score, sizeof score - 1) != ERR_OK)
        return; /* not allowed here: the kernel decides by itself */
}

bool process_follow_parent(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO};
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        return false;
    return poll(&out, 1, 0) <= 0 || (out.revents & POLLERR) == 0;
}
