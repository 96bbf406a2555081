#pragma once
/* What bytes cost, estimated from how often they were told in each way. Only for creating deltas. Internal to
 * common/delta. */

#include "common/delta/bin_op.h"

enum {
    BIN_BIT = 16,        /* prices are in 16ths of a bit */
    BIN_FLAGS_KNOWN = 10 /* bytes before, of a copy with differences: did they differ? */
};

struct bin_prices {
    uint32_t literal[256];
    uint32_t differs[1 << BIN_FLAGS_KNOWN][2]; /* a byte of a copy with differences: equal, and not */
    uint32_t difference[256];                  /* and what the difference is */
};

/* 16 * log2(n), n >= 1; linear between powers of two. */
uint32_t bin_log_price(uint64_t n);

/* Prices of what the ops tell, which make new[0, their length). */
void bin_prices_make(const uint8_t *old, const uint8_t *new, const struct bin_op *ops, size_t count,
                     struct bin_prices *ret_prices);
