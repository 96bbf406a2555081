#pragma once
/* Which device is in which wave. Pure and deterministic: the choice hangs only on the bundle, the devices and the waves
 * asked for, so that a plan can be shown before the rollout exists. */

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PLAN_WAVES_MAX = 20 };

/* A wave as asked for: exactly one of devices (so many more) and percent (until this share of all is reached). */
struct plan_wave {
    int64_t devices; /* 0: percent is meant */
    double percent;  /* 0 < percent <= 100 */
    int64_t soak_s;
    int64_t max_failures;
};

struct plan_device {
    const char *id;      /* borrowed */
    const char *stratum; /* its site; borrowed */
    bool canary;         /* must be in the first wave */
    size_t row;          /* the caller's own; goes with the device */
    int wave;            /* the result, from 1 */
    uint64_t order_;
    size_t rank_;
};

/* The waves rule: the last one takes 100 %, and each share is larger than those before. ERR_INVALID with field
 * "waves" and what to do. */
[[nodiscard]] enum err plan_check(const struct plan_wave *waves, size_t count, struct err_info *info);

/* Gives every device its wave. Devices of a stratum are ordered by a hash of bundle and device; the strata take turns,
 * so that even a small wave reaches many of them. Waves that would be empty are left out: ret_waves (room for count)
 * has those that remain, numbered from 1 by position. The devices come back in the order of their turn. */
void plan_make(const char *bundle_id, struct plan_device *devices, size_t device_count, const struct plan_wave *waves,
               size_t count, struct plan_wave *ret_waves, size_t *ret_count);
