#include "common/delta/bin_price.h"

#include <string.h>

struct counts {
    uint32_t literal[256], difference[256], differs[1 << BIN_FLAGS_KNOWN][2];
};

uint32_t bin_log_price(uint64_t n)
{
    unsigned bits = 63 - (unsigned)__builtin_clzll(n);
    uint64_t part = bits >= 4 ? (n >> (bits - 4)) & 15 : (n << (4 - bits)) & 15;
    return bits * BIN_BIT + (uint32_t)part;
}

static void approx_count(const uint8_t *old, const uint8_t *new, size_t len, struct counts *counts)
{
    unsigned flags = 0;
    for (size_t i = 0; i < len; i++) {
        const bool differs = old[i] != new[i];
        counts->differs[flags][differs]++;
        counts->difference[(uint8_t)(new[i] - old[i])] += differs;
        flags = (flags << 1 | differs) & ((1 << BIN_FLAGS_KNOWN) - 1);
    }
}

/* Contexts make everything cheaper than counts alone say: prices are so many sixteenths of theirs, and at least... */
enum {
    LITERAL_SHARE = 13,
    LITERAL_LEAST = 2 * BIN_BIT,
    DIFFERENCE_SHARE = 10,
    DIFFERENCE_LEAST = BIN_BIT / 2,
    DIFFERS_SHARE = 13
};

static void bytes_price(const uint32_t *counts, uint32_t share, uint32_t least, uint32_t *ret_prices)
{
    enum { START = 1 };
    uint32_t total = 0;
    for (size_t i = 0; i < 256; i++)
        total += counts[i] + START;
    for (size_t i = 0; i < 256; i++) {
        const uint32_t price = (bin_log_price(total) - bin_log_price(counts[i] + START)) * share / 16;
        ret_prices[i] = price < least ? least : price;
    }
}

void bin_prices_make(const uint8_t *old, const uint8_t *new, const struct bin_op *ops, size_t count,
                     struct bin_prices *ret_prices)
{
    struct counts counts = {0};
    size_t at = 0;
    for (size_t k = 0; k < count; k++) {
        for (size_t i = 0; ops[k].kind == BIN_LITERALS && i < ops[k].len; i++)
            counts.literal[new[at + i]]++;
        if (ops[k].kind == BIN_APPROX)
            approx_count(old + ops[k].from, new + at, ops[k].len, &counts);
        at += ops[k].len;
    }
    bytes_price(counts.literal, LITERAL_SHARE, LITERAL_LEAST, ret_prices->literal);
    bytes_price(counts.difference, DIFFERENCE_SHARE, DIFFERENCE_LEAST, ret_prices->difference);
    for (size_t i = 0; i < 1 << BIN_FLAGS_KNOWN; i++) {
        const uint32_t *n = counts.differs[i];
        const uint32_t all = bin_log_price(16 * (uint64_t)(n[0] + n[1]) + 20);
        ret_prices->differs[i][0] = (all - bin_log_price(16 * (uint64_t)n[0] + 16)) * DIFFERS_SHARE / 16;
        ret_prices->differs[i][1] = (all - bin_log_price(16 * (uint64_t)n[1] + 4)) * DIFFERS_SHARE / 16;
    }
}
