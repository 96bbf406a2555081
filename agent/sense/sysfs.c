#include "agent/sense/sysfs.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/text.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { SLOW_PAUSE_MS = 5 * 60 * 1000 };

bool sysfs_path(char out[SYSFS_PATH_SIZE], const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(out, SYSFS_PATH_SIZE, fmt, args);
    va_end(args);
    return n >= 0 && n < SYSFS_PATH_SIZE;
}

static bool path_slow(const struct sysfs *sysfs, const char *path)
{
    for (size_t i = 0; i < SYSFS_SLOW_MAX; i++)
        if (text_eq(sysfs->slow[i].path, path))
            return clock_mono_ms() < sysfs->slow[i].until_ms;
    return false;
}

static void path_slow_set(struct sysfs *sysfs, const char *path, int64_t took_ms)
{
    size_t at = sysfs->slow_next;
    for (size_t i = 0; i < SYSFS_SLOW_MAX; i++)
        if (text_eq(sysfs->slow[i].path, path))
            at = i;
    if (at == sysfs->slow_next)
        sysfs->slow_next = (sysfs->slow_next + 1) % SYSFS_SLOW_MAX;
    (void)text_copy(sysfs->slow[at].path, SYSFS_PATH_SIZE, path);
    sysfs->slow[at].until_ms = clock_mono_ms() + SLOW_PAUSE_MS;
    log_warn("sensor_slow", "path=%s ms=%lld action=\"left alone for %d s\"", path, (long long)took_ms,
             SLOW_PAUSE_MS / 1000);
}

bool sysfs_text(struct sysfs *sysfs, char *out, size_t size, const char *path)
{
    if (path_slow(sysfs, path))
        return false;
    int64_t began = clock_mono_ms();
    cleanup_fd int fd = openat(sysfs->root, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);
    int64_t took = clock_mono_ms() - began;
    if (took > SYSFS_DEADLINE_MS) {
        path_slow_set(sysfs, path, took);
        return false;
    }
    if (n <= 0)
        return false;
    out[n] = '\0';
    out[strcspn(out, "\n")] = '\0';
    return out[0] != '\0';
}

bool sysfs_number(struct sysfs *sysfs, int64_t *ret_value, const char *path)
{
    char text[32];
    return sysfs_text(sysfs, text, sizeof text, path) && text_to_i64(text, INT64_MIN, INT64_MAX, ret_value) == ERR_OK;
}
