#pragma once
/* Where coded bytes go to, or come from. Internal to common/delta. */

#include "common/base/err.h"

#include <stddef.h>

/* One of the two is set. */
struct coded_pipe {
    enum err (*write)(void *user, const void *bytes, size_t len);
    enum err (*read)(void *user, void *bytes, size_t len); /* exactly len */
    void *user;
};
