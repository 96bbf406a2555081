#pragma once
/* Reading attributes of sysfs, where a driver may hang: never blocking where the kernel lets us choose, and timed. Each
 * reader belongs to one thread. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SYSFS_PATH_SIZE = 192,
    SYSFS_DEADLINE_MS = 200, /* for one attribute */
    SYSFS_SLOW_MAX = 16      /* attributes remembered as slow */
};

struct sysfs {
    int root; /* directory that is laid out like /sys */
    /* Attributes that took longer than the deadline are left alone for a while. */
    struct {
        char path[SYSFS_PATH_SIZE];
        int64_t until_ms;
    } slow[SYSFS_SLOW_MAX];
    size_t slow_next;
};

/* The first line of an attribute, without its newline; path is below the root. False: it is not there, cannot be read,
 * is empty, or took longer than the deadline (then its value is not used). */
bool sysfs_text(struct sysfs *sysfs, char *out, size_t size, const char *path);

/* The same as a decimal number. */
bool sysfs_number(struct sysfs *sysfs, int64_t *ret_value, const char *path);

/* Formats a path below the root; false when it does not fit. */
[[gnu::format(printf, 2, 3)]] bool sysfs_path(char out[SYSFS_PATH_SIZE], const char *fmt, ...);
