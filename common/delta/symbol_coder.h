#pragma once
/* A coder for symbols.h: asymmetric numeral systems (rANS), in blocks. A symbol costs a decoder a multiplication and no
 * division; two states take turns, so that one can be worked on before the other is ready. A state is last in, first
 * out: an encoder keeps the symbols of a block and codes them from the last to the first. Encoder and decoder call the
 * same functions, as with mix.h, and `encoding` should be constant. Internal to common/delta; inline because it is the
 * inner loop.
 *
 * A block: bytes of words (4), both states (8 each), words (4 each). Its end is where no words are left and both states
 * are what the encoder began with: no count is needed, and what was changed is found for nearly sure. */

#include "common/delta/pipe.h"
#include "common/delta/symbols.h"

#include <stdbool.h>
#include <string.h>

enum {
    SYMBOL_BLOCK = 64 * 1024, /* symbols; a few more at the end */
    SYMBOL_TURN = 64,         /* at most that many are coded from one symbol_coder_turn() to the next */
    SYMBOL_RAW_BITS = 12,     /* at most that many at once */
    SYMBOL_WORDS = (SYMBOL_BLOCK + SYMBOL_TURN) / 2, /* a symbol costs two bytes at most */
    SYMBOL_LEAST = 8,                                /* slots that a symbol always has */
    SYMBOL_STATE_BITS = 31                           /* a state is 2^31 … 2^63 - 1 between symbols */
};

/* What changes with each symbol. Inner loops keep a copy: the compiler then knows that nothing else changes it. */
struct symbol_state {
    uint64_t next, after;    /* decoding: the states, in turn */
    const uint8_t *at, *end; /* decoding: words that are left */
    uint32_t *put; /* encoding: where the next symbol goes: its first slot, and behind 16 bits how many it has */
};

/* One owner. After an error it goes on with anything, within bounds, and the error is kept. */
struct symbol_coder {
    bool encoding;
    enum err error;
    struct coded_pipe pipe;
    uint64_t left;    /* decoding: bytes that the pipe still has */
    uint64_t written; /* encoding: bytes that went out */
    struct symbol_state state;
    uint32_t *symbols, *full; /* encoding: those of the block, and where it ends */
    uint8_t *words;           /* of a block, and zeros behind it */
};

/* Heap that a decoder takes. */
size_t symbol_coder_memory(void);

/* ERR_NO_MEMORY. To be freed in any case. */
[[nodiscard]] enum err symbol_encode_start(struct symbol_coder *c, struct coded_pipe pipe);
/* len: of the coded bytes. */
[[nodiscard]] enum err symbol_decode_start(struct symbol_coder *c, struct coded_pipe pipe, uint64_t len);
/* The kept error, or that of the last bytes. ERR_CORRUPT: the stream does not end here. */
[[nodiscard]] enum err symbol_encode_end(struct symbol_coder *c);
[[nodiscard]] enum err symbol_decode_end(struct symbol_coder *c);
void symbol_coder_free(struct symbol_coder *c);

/* Bytes that go past the coder: the block ends, they follow as they are, in any number of pieces. */
void symbol_plain_start(struct symbol_coder *c);
void symbol_plain_write(struct symbol_coder *c, const uint8_t *bytes, size_t len);
void symbol_plain_read(struct symbol_coder *c, uint8_t *ret_bytes, size_t len);

/* For symbol_coder_turn(): writes the block, or reads the next one when this one has ended. */
void symbol_block_next(struct symbol_coder *c);

/* To be called before every few symbols (SYMBOL_TURN), and only when one follows: a decoder may read on here. */
[[gnu::always_inline]] static inline void symbol_coder_turn(struct symbol_coder *c, struct symbol_state *s,
                                                            const bool encoding)
{
    if (__builtin_expect(encoding ? s->put >= c->full : s->at >= s->end, 0)) {
        c->state = *s;
        symbol_block_next(c);
        *s = c->state;
    }
}

/* The state that is next gives away one of `total` slots, and takes a word when it got small. */
[[gnu::always_inline]] static inline void symbol_state_step(struct symbol_state *s, uint32_t from, uint32_t count)
{
    uint64_t x = count * (s->next >> SYMBOLS_BITS) + (s->next & (SYMBOLS_TOTAL - 1)) - from;
    if (x >> SYMBOL_STATE_BITS == 0) {
        uint32_t word;
        memcpy(&word, s->at, sizeof word);
        x = x << 32 | word;
        s->at += sizeof word;
    }
    s->next = s->after;
    s->after = x;
}

[[gnu::always_inline]] static inline unsigned symbol_pass(struct symbol_state *s, const bool encoding, unsigned symbol,
                                                          const struct symbols *t)
{
    if (!encoding)
        symbol = symbols_find(t->lanes, SYMBOLS, s->next & (SYMBOLS_TOTAL - 1));
    const uint32_t from = symbols_from(t->lanes, symbol);
    const uint32_t count = symbols_to(t->lanes, SYMBOLS, symbol) - from;
    if (encoding)
        *s->put++ = count << 16 | from;
    else
        symbol_state_step(s, from, count);
    return symbol;
}

/* One symbol; slowest as in symbols_learn(). */
[[gnu::always_inline]] static inline unsigned symbol_code(struct symbol_state *s, const bool encoding, unsigned symbol,
                                                          struct symbols *t, int8_t slowest)
{
    symbol = symbol_pass(s, encoding, symbol, t);
    symbols_learn(t->lanes, SYMBOLS, symbol, SYMBOL_LEAST, slowest);
    return symbol;
}

/* One symbol that two tables know something of; both learn. */
[[gnu::always_inline]] static inline unsigned symbol_code_mixed(struct symbol_state *s, const bool encoding,
                                                                unsigned symbol, struct symbols *a, struct symbols *b,
                                                                int8_t slowest)
{
    const struct symbols both = symbols_between(a, b);
    symbol = symbol_pass(s, encoding, symbol, &both);
    symbols_learn(a->lanes, SYMBOLS, symbol, SYMBOL_LEAST, slowest);
    symbols_learn(b->lanes, SYMBOLS, symbol, SYMBOL_LEAST, slowest);
    return symbol;
}

/* A number of so many bits that cannot be predicted, 1 … SYMBOL_RAW_BITS. */
[[gnu::always_inline]] static inline unsigned symbol_raw(struct symbol_state *s, const bool encoding, unsigned value,
                                                         unsigned bits)
{
    const unsigned low = SYMBOLS_BITS - bits;
    if (!encoding)
        value = (unsigned)(s->next & (SYMBOLS_TOTAL - 1)) >> low;
    if (encoding)
        *s->put++ = 1u << low << 16 | value << low;
    else
        symbol_state_step(s, value << low, 1u << low);
    return value;
}
