#include "common/base/process.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

bool process_follow_parent(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO};
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        return false;
    return poll(&out, 1, 0) <= 0 || (out.revents & POLLERR) == 0;
}
