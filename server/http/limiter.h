#pragma once
/* How often somebody may try: a token bucket per key (an address, a device), with a bounded number of keys. Any thread.
 */

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct limiter;

/* per_minute: attempts that one key may make in a row, refilled evenly over a minute (1 or more). keys_max: keys it
 * remembers; when it is full, the one that was quiet longest is forgotten. */
[[nodiscard]] enum err limiter_new(int64_t per_minute, size_t keys_max, struct limiter **ret_limiter);
void limiter_free(struct limiter *limiter);

/* Counts an attempt. ERR_RATE code `rate_limited`, with the seconds to wait in info. now_ms: monotonic. */
[[nodiscard]] enum err limiter_take(struct limiter *limiter, const char *key, int64_t now_ms, struct err_info *info);
