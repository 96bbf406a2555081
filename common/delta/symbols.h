#pragma once
/* How likely each of 16 or 32 symbols is, learnt from those that came. As many numbers in two or four vectors: a symbol
 * is found, and all are updated, in a few instructions without a branch. Knows of no coder: a slot is what one has in
 * hand when it asks which symbol comes, 0 … SYMBOLS_TOTAL - 1. Integers only: the same on every machine. Internal to
 * common/delta; inline because it is the inner loop. */

#include <stddef.h>
#include <stdint.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum {
    SYMBOLS = 16,
    SYMBOLS_MANY = 32,
    SYMBOLS_LANES = 8,
    SYMBOLS_BITS = 15,
    SYMBOLS_TOTAL = 1 << SYMBOLS_BITS,
    SYMBOLS_AGE = 32767,   /* what the age grows to */
    SYMBOLS_AGE_SHIFT = 10 /* its other bits do not count */
};

typedef int16_t symbols_lanes __attribute__((vector_size(2 * SYMBOLS_LANES)));

/* The first slot of symbol n is bounds[n]; that of symbol 0 is 0, and in its place is the age: as every bound moves by
 * a share of what is missing, so does the age, and tells how many symbols came and how large the share should be. */
struct symbols {
    union {
        int16_t bounds[SYMBOLS];
        symbols_lanes lanes[SYMBOLS / SYMBOLS_LANES];
    };
};

/* The same for more symbols. Functions take the lanes of either, and how many symbols they are, which should be
 * constant. */
struct symbols_many {
    union {
        int16_t bounds[SYMBOLS_MANY];
        symbols_lanes lanes[SYMBOLS_MANY / SYMBOLS_LANES];
    };
};

static inline int16_t symbols_bound(const symbols_lanes *lanes, unsigned symbol)
{
    return lanes[symbol / SYMBOLS_LANES][symbol % SYMBOLS_LANES];
}

/* All symbols of so many tables are as likely, and nothing is known. */
static inline void symbols_start(symbols_lanes *lanes, unsigned symbols, size_t tables)
{
    const size_t each = symbols / SYMBOLS_LANES;
    for (unsigned i = 0; i < symbols && tables > 0; i++)
        lanes[i / SYMBOLS_LANES][i % SYMBOLS_LANES] = (int16_t)(i * (SYMBOLS_TOTAL / symbols));
    for (size_t i = each; i < tables * each; i++)
        lanes[i] = lanes[i - each];
}

[[gnu::always_inline]] static inline uint32_t symbols_from(const symbols_lanes *lanes, unsigned symbol)
{
    return symbol == 0 ? 0 : (uint32_t)symbols_bound(lanes, symbol);
}

[[gnu::always_inline]] static inline uint32_t symbols_to(const symbols_lanes *lanes, unsigned symbols, unsigned symbol)
{
    return symbol == symbols - 1 ? SYMBOLS_TOTAL : (uint32_t)symbols_bound(lanes, symbol + 1);
}

/* The symbol that a slot belongs to. */
[[gnu::always_inline]] static inline unsigned symbols_find(const symbols_lanes *lanes, unsigned symbols, uint32_t slot)
{
#ifdef __SSE2__
    const __m128i wanted = _mm_set1_epi16((int16_t)slot);
    uint64_t above = 1ULL << symbols;
    for (unsigned i = 0; i < symbols / SYMBOLS; i++) {
        const __m128i both = _mm_packs_epi16(_mm_cmpgt_epi16((__m128i)lanes[2 * i], wanted),
                                             _mm_cmpgt_epi16((__m128i)lanes[2 * i + 1], wanted));
        above |= (uint64_t)(unsigned)_mm_movemask_epi8(both) << (SYMBOLS * i);
    }
    /* Bounds rise: the first above the slot is behind the symbol. The age is no bound. */
    return (unsigned)__builtin_ctzll(above & ~1ULL) - 1;
#else
    unsigned symbol = 0;
    for (unsigned i = 1; i < symbols; i++)
        symbol += (uint32_t)symbols_bound(lanes, i) <= slot;
    return symbol;
#endif
}

/* What two tables say together: halfway between them. It is asked as a table is, and not taught. */
[[gnu::always_inline]] static inline struct symbols symbols_between(const struct symbols *a, const struct symbols *b)
{
    struct symbols out;
    for (size_t i = 0; i < SYMBOLS / SYMBOLS_LANES; i++)
        out.lanes[i] = a->lanes[i] + ((b->lanes[i] - a->lanes[i]) >> 1);
    return out;
}

/* A symbol came. least: slots that each one always has. slowest: a share of 1 / 2^slowest at least is learnt, 2 … 7;
 * larger ones while little is known. */
[[gnu::always_inline]] static inline void symbols_learn(symbols_lanes *lanes, unsigned symbols, unsigned symbol,
                                                        int16_t least, int8_t slowest)
{
    /* 2 for the first two symbols, then 3 up to the fifth, 4 to the 12th, 5 to about the 33rd */
    static const int8_t shares[(SYMBOLS_AGE >> SYMBOLS_AGE_SHIFT) + 1] = {
        2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 7};
    static const symbols_lanes first = {0, 1, 2, 3, 4, 5, 6, 7}, age = {SYMBOLS_AGE};
    const int8_t share = shares[lanes[0][0] >> SYMBOLS_AGE_SHIFT];
    const int16_t shift = share < slowest ? share : slowest;
    const int16_t came = (int16_t)symbol, others = (int16_t)(SYMBOLS_TOTAL - (int)symbols * least);
    for (unsigned i = 0; i < symbols / SYMBOLS_LANES; i++) {
        const symbols_lanes place = first + (int16_t)(i * SYMBOLS_LANES);
        const symbols_lanes behind = (symbols_lanes)(place > came);
        const symbols_lanes below = i == 0 ? place * least + age : place * least;
        lanes[i] += (below + (behind & others) - lanes[i]) >> shift;
    }
}
