#pragma once
/* `musterctl delta apply`, in the small process of muster-delta (cli/rebuild/main.c) when it is there. */

#include "common/base/err.h"

/* As delta_apply without expectations. muster-delta is searched beside this program and in ../libexec/muster; without
 * it the rebuild happens in this process, which then has its libraries besides. Forks: one thread only. */
[[nodiscard]] enum err rebuild(int old_fd, int delta_fd, int out_fd, struct err_info *info);
