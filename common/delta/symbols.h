#pragma once
/* How likely each of 16 symbols is, learnt from those that came. Sixteen numbers in two vectors: a symbol is found, and
 * all are updated, in a few instructions without a branch. Knows of no coder: a slot is what one has in hand when it
 * asks which symbol comes, 0 … SYMBOLS_TOTAL - 1. Integers only: the same on every machine. Internal to common/delta;
 * inline because it is the inner loop. */

#include <stddef.h>
#include <stdint.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum {
    SYMBOLS = 16,
    SYMBOLS_BITS = 15,
    SYMBOLS_TOTAL = 1 << SYMBOLS_BITS,
    SYMBOLS_LEAST = 8,     /* slots that a symbol always has */
    SYMBOLS_AGE = 32767,   /* what the age grows to */
    SYMBOLS_AGE_SHIFT = 10 /* its other bits do not count */
};

typedef int16_t symbols_half __attribute__((vector_size(16)));

/* The first slot of symbol n is bounds[n]; that of symbol 0 is 0, and in its place is the age: as every bound moves by
 * a share of what is missing, so does the age, and tells how many symbols came and how large the share should be. */
struct symbols {
    union {
        int16_t bounds[SYMBOLS];
        symbols_half halves[2];
    };
};

/* All symbols are as likely, and nothing is known. */
static inline void symbols_start(struct symbols *tables, size_t count)
{
    static const struct symbols even = {{.bounds = {0, 2048, 4096, 6144, 8192, 10240, 12288, 14336, 16384, 18432, 20480,
                                                    22528, 24576, 26624, 28672, 30720}}};
    for (size_t i = 0; i < count; i++)
        tables[i] = even;
}

[[gnu::always_inline]] static inline uint32_t symbols_from(const struct symbols *t, unsigned symbol)
{
    return symbol == 0 ? 0 : (uint32_t)t->bounds[symbol];
}

[[gnu::always_inline]] static inline uint32_t symbols_to(const struct symbols *t, unsigned symbol)
{
    return symbol == SYMBOLS - 1 ? SYMBOLS_TOTAL : (uint32_t)t->bounds[symbol + 1];
}

/* The symbol that a slot belongs to. */
[[gnu::always_inline]] static inline unsigned symbols_find(const struct symbols *t, uint32_t slot)
{
#ifdef __SSE2__
    const __m128i wanted = _mm_set1_epi16((int16_t)slot);
    const __m128i above =
        _mm_packs_epi16(_mm_cmpgt_epi16((__m128i)t->halves[0], wanted), _mm_cmpgt_epi16((__m128i)t->halves[1], wanted));
    /* Bounds rise: the first above the slot is behind the symbol. The age is no bound. */
    return (unsigned)__builtin_ctz(((unsigned)_mm_movemask_epi8(above) & ~1u) | 1u << SYMBOLS) - 1;
#else
    unsigned symbol = 0;
    for (unsigned i = 1; i < SYMBOLS; i++)
        symbol += (uint32_t)t->bounds[i] <= slot;
    return symbol;
#endif
}

/* A symbol came. slowest: a share of 1 / 2^slowest at least is learnt, 2 … 6; larger ones while little is known. */
[[gnu::always_inline]] static inline void symbols_learn(struct symbols *t, unsigned symbol, int8_t slowest)
{
    /* 2 for the first two symbols, then 3 up to the fifth, 4 to the 12th, 5 to about the 33rd */
    static const int8_t shares[(SYMBOLS_AGE >> SYMBOLS_AGE_SHIFT) + 1] = {
        2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6};
    static const symbols_half places[2] = {{0, 1, 2, 3, 4, 5, 6, 7}, {8, 9, 10, 11, 12, 13, 14, 15}};
    static const symbols_half below[2] = {{SYMBOLS_AGE, SYMBOLS_LEAST, 2 * SYMBOLS_LEAST, 3 * SYMBOLS_LEAST,
                                           4 * SYMBOLS_LEAST, 5 * SYMBOLS_LEAST, 6 * SYMBOLS_LEAST, 7 * SYMBOLS_LEAST},
                                          {8 * SYMBOLS_LEAST, 9 * SYMBOLS_LEAST, 10 * SYMBOLS_LEAST, 11 * SYMBOLS_LEAST,
                                           12 * SYMBOLS_LEAST, 13 * SYMBOLS_LEAST, 14 * SYMBOLS_LEAST,
                                           15 * SYMBOLS_LEAST}};
    const int8_t share = shares[t->bounds[0] >> SYMBOLS_AGE_SHIFT];
    const int16_t shift = share < slowest ? share : slowest;
    const int16_t came = (int16_t)symbol;
    for (size_t i = 0; i < 2; i++) {
        const symbols_half behind = (symbols_half)(places[i] > came);
        const symbols_half goal = below[i] + (behind & (SYMBOLS_TOTAL - SYMBOLS * SYMBOLS_LEAST));
        t->halves[i] += (goal - t->halves[i]) >> shift;
    }
}
