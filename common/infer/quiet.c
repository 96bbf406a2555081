#include "common/infer/quiet.h"

#include "common/base/cleanup.h"

#include <fcntl.h>

int quiet_begin(void)
{
    cleanup_fd int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    int saved = nowhere < 0 ? -1 : fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (saved >= 0)
        (void)dup2(nowhere, STDERR_FILENO);
    return saved;
}

void quiet_end(int token)
{
    if (token < 0)
        return;
    (void)dup2(token, STDERR_FILENO);
    (void)close(token);
}
