/* muster-delta: rebuilds a file from an old one and a delta, for musterctl. A program of its own, because musterctl's
 * libraries (HTTPS, archives) take 57 MiB of address space before it does anything, and a rebuild has to work
 * within 64.
 *
 *   muster-delta OLD DELTA OUT      numbers of open files, passed on by the parent
 *
 * The exit status is the enum err; stdout then has three lines: code, text, what to do. */

#include "common/base/process.h"
#include "common/base/text.h"
#include "common/delta/delta.h"

#include <limits.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    int64_t fds[3];
    struct err_info info = {0};
    for (int i = 0; i < 3; i++)
        if (argc != 4 || text_to_i64(argv[i + 1], 0, INT_MAX, &fds[i]) != ERR_OK) {
            (void)fputs("muster-delta is run by `musterctl delta apply`\n", stderr);
            return ERR_INVALID;
        }
    if (!process_follow_parent())
        return ERR_INTERNAL;
    enum err e = delta_apply((int)fds[0], (int)fds[1], (int)fds[2], NULL, &info);
    if (e != ERR_OK)
        (void)printf("%s\n%s\n%s\n", info.code, info.text, info.next);
    return (int)e;
}
