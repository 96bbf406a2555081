#include "agent/fetch/space.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/statvfs.h>

#define RESERVE_BYTES ((int64_t)16 << 20) /* left free for the journal and the spool */

bool space_check(int fd, int64_t need, struct outcome *outcome)
{
    struct statvfs fs;
    if (fstatvfs(fd, &fs) != 0)
        return outcome_fail(outcome, "io_error", "cannot read the free space: %s", strerror(errno));
    int64_t free_bytes = (int64_t)fs.f_bavail * (int64_t)fs.f_frsize;
    if (need + RESERVE_BYTES <= free_bytes)
        return true;
    return outcome_fail(outcome, "does_not_fit",
                        "the update needs %" PRId64 " MiB of free disk and %" PRId64 " MiB are free; make room in "
                        "state_dir and ask for it again",
                        ((need + RESERVE_BYTES) >> 20) + 1, free_bytes >> 20);
}
