#include "common/delta/symbol_coder.h"

#include <stdlib.h>

enum { HEAD = 4 + 8 + 8, WORD = 4 };

/* With what a decoder may read behind the end of a block before it looks where it is, and an encoder's head before it.
 */
static const size_t words_room = (size_t)(SYMBOL_WORDS + SYMBOL_TURN) * WORD;
_Static_assert(HEAD <= SYMBOL_TURN * WORD, "a head has room");
static const uint64_t first_state = 1ull << SYMBOL_STATE_BITS;

size_t symbol_coder_memory(void)
{
    return words_room;
}

static enum err start(struct symbol_coder *c, struct coded_pipe pipe, bool encoding, uint64_t len)
{
    *c = (struct symbol_coder){.encoding = encoding, .pipe = pipe, .left = len};
    c->words = calloc(1, words_room);
    if (encoding)
        c->symbols = malloc((SYMBOL_BLOCK + SYMBOL_TURN) * sizeof *c->symbols);
    if (c->words == NULL || (encoding && c->symbols == NULL))
        return ERR_NO_MEMORY;
    c->full = encoding ? c->symbols + SYMBOL_BLOCK : NULL;
    c->state = (struct symbol_state){
        .next = first_state, .after = first_state, .at = c->words, .end = c->words, .put = c->symbols};
    return ERR_OK;
}

enum err symbol_encode_start(struct symbol_coder *c, struct coded_pipe pipe)
{
    return start(c, pipe, true, 0);
}

enum err symbol_decode_start(struct symbol_coder *c, struct coded_pipe pipe, uint64_t len)
{
    return start(c, pipe, false, len);
}

void symbol_coder_free(struct symbol_coder *c)
{
    free(c->symbols);
    free(c->words);
    c->symbols = NULL;
    c->words = NULL;
}

static void failed(struct symbol_coder *c, enum err e)
{
    if (c->error == ERR_OK)
        c->error = e;
}

/* ---- encoding ---- */

static void put(struct symbol_coder *c, const void *bytes, size_t len)
{
    if (c->error == ERR_OK)
        c->error = c->pipe.write(c->pipe.user, bytes, len);
    c->written += len;
}

/* From the last symbol to the first, and words from the last place to the first. */
static void block_write(struct symbol_coder *c)
{
    const size_t count = (size_t)(c->state.put - c->symbols);
    uint64_t states[2] = {first_state, first_state};
    uint8_t *end = c->words + words_room;
    uint8_t *at = end;
    for (size_t i = count; i > 0; i--) {
        const uint32_t symbol = c->symbols[i - 1];
        const uint32_t slots = symbol >> 16;
        uint64_t x = states[(i - 1) & 1];
        if (x >> (SYMBOL_STATE_BITS + 32 - SYMBOLS_BITS) >= slots) {
            const uint32_t word = (uint32_t)x;
            at -= WORD;
            memcpy(at, &word, WORD);
            x >>= 32;
        }
        states[(i - 1) & 1] = (x / slots << SYMBOLS_BITS) + x % slots + (symbol & 0xffff);
    }
    const uint32_t len = (uint32_t)(end - at);
    at -= HEAD;
    memcpy(at, &len, sizeof len);
    memcpy(at + 4, states, sizeof states);
    put(c, at, HEAD + len);
    c->state.put = c->symbols;
}

enum err symbol_encode_end(struct symbol_coder *c)
{
    if (c->state.put > c->symbols)
        block_write(c);
    return c->error;
}

/* ---- decoding ---- */

static void get(struct symbol_coder *c, void *bytes, size_t len)
{
    if (len > c->left)
        failed(c, ERR_CORRUPT);
    if (c->error == ERR_OK)
        c->error = c->pipe.read(c->pipe.user, bytes, len);
    if (c->error == ERR_OK)
        c->left -= len;
    else
        memset(bytes, 0, len);
}

static bool block_ended(const struct symbol_coder *c)
{
    const struct symbol_state *s = &c->state;
    return s->at == s->end && s->next == first_state && s->after == first_state;
}

static void block_read(struct symbol_coder *c)
{
    uint8_t head[HEAD];
    uint64_t states[2];
    uint32_t len;
    get(c, head, sizeof head);
    memcpy(&len, head, sizeof len);
    memcpy(states, head + 4, sizeof states);
    if (len > SYMBOL_WORDS * WORD || len % WORD != 0) {
        failed(c, ERR_CORRUPT);
        len = 0;
    }
    get(c, c->words, len);
    c->state.next = states[0];
    c->state.after = states[1];
    c->state.at = c->words;
    c->state.end = c->words + len;
}

/* Words may be used up some symbols before the states are. */
static void block_follow(struct symbol_coder *c)
{
    if (block_ended(c)) {
        block_read(c);
    } else if (c->state.at > c->state.end) {
        failed(c, ERR_CORRUPT);
        c->state.at = c->state.end = c->words;
    }
}

enum err symbol_decode_end(struct symbol_coder *c)
{
    if (!block_ended(c) || c->left > 0)
        failed(c, ERR_CORRUPT); /* bytes that mean nothing */
    return c->error;
}

/* ---- either ---- */

void symbol_block_next(struct symbol_coder *c)
{
    if (c->encoding)
        block_write(c);
    else
        block_follow(c);
}

void symbol_plain_start(struct symbol_coder *c)
{
    if (!c->encoding && !block_ended(c))
        failed(c, ERR_CORRUPT);
    if (c->encoding && c->state.put > c->symbols)
        block_write(c);
}

void symbol_plain_write(struct symbol_coder *c, const uint8_t *bytes, size_t len)
{
    put(c, bytes, len);
}

void symbol_plain_read(struct symbol_coder *c, uint8_t *ret_bytes, size_t len)
{
    get(c, ret_bytes, len);
}
