#include "common/base/process.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

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

bool process_follow_parent(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO};
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        return false;
    return poll(&out, 1, 0) <= 0 || (out.revents & POLLERR) == 0;
}
