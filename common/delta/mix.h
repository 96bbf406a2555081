#pragma once
/* A binary arithmetic coder, adaptive bits, and their logistic mixing. One set of functions encodes and decodes, so
 * that a model cannot differ between the two: each takes the bit and returns it, and when decoding the argument does
 * not count. Integers only: the same on every machine. Internal to common/delta. */

#include "common/delta/pipe.h"

#include <stdbool.h>
#include <stdint.h>

enum { MIX_BUFFER = 32 * 1024, MIX_INPUTS_MAX = 6, MIX_OVERRUN_MAX = 8 };

/* One coder; one owner. After an error it goes on with zeros, and the error is kept. */
struct mix_coder {
    bool encoding;
    uint32_t low, high, code;
    enum err error;
    struct coded_pipe pipe;
    uint64_t left;    /* decoding: bytes that the pipe still has */
    uint64_t written; /* encoding: bytes that went out */
    unsigned overrun; /* decoding: bytes that were wanted beyond the end */
    size_t at, len;
    const uint16_t *squash;  /* 4096: (x + 2048) / 256 as log odds -> probability of 16 bits */
    const int16_t *stretch;  /* 4096: probability of 12 bits -> log odds * 256 */
    const uint32_t *inverse; /* 1024: how far the n-th observation moves a probability, of 16 bits */
    uint8_t buffer[MIX_BUFFER];
};

/* The tables of all coders, 28 KiB: filled once by mix_tables_make(). */
struct mix_tables {
    uint16_t squash[4096];
    int16_t stretch[4096];
    uint32_t inverse[1024];
};
void mix_tables_make(struct mix_tables *t);

void mix_encode_start(struct mix_coder *c, const struct mix_tables *tables, struct coded_pipe pipe);
/* len: of the coded bytes; all of them are read by the time mix_decode_end() returns. */
void mix_decode_start(struct mix_coder *c, const struct mix_tables *tables, struct coded_pipe pipe, uint64_t len);
/* The kept error, or that of the last bytes. */
[[nodiscard]] enum err mix_encode_end(struct mix_coder *c);
[[nodiscard]] enum err mix_decode_end(struct mix_coder *c);

/* Bytes that go past the coder: it ends, they follow as they are, in any number of pieces, and it begins again. */
void mix_plain_start(struct mix_coder *c);
void mix_plain_write(struct mix_coder *c, const uint8_t *bytes, size_t len);
void mix_plain_read(struct mix_coder *c, uint8_t *ret_bytes, size_t len);
void mix_plain_end(struct mix_coder *c);

/* For the inline functions below: the buffer is full, or empty. */
void mix_buffer_flush(struct mix_coder *c);
uint8_t mix_buffer_fill(struct mix_coder *c);

/* A probability of 22 bits that the bit is 1, less a half, and a count of 10 bits; zero knows nothing. */
typedef uint32_t mix_bit;

static inline uint32_t mix_bit_p(mix_bit b)
{
    return (b ^ 0x80000000u) >> 10;
}

static inline void mix_bit_learn(const struct mix_coder *c, mix_bit *b, unsigned bit, unsigned limit)
{
    uint32_t n = *b & 1023;
    int64_t p = mix_bit_p(*b);
    p += (((int64_t)bit * 4194303 - p) * (int64_t)c->inverse[n]) >> 16;
    *b = ((uint32_t)p << 10 ^ 0x80000000u) | (n < limit ? n + 1 : n);
}

static inline void mix_byte_out(struct mix_coder *c, uint8_t byte)
{
    if (c->at == MIX_BUFFER)
        mix_buffer_flush(c);
    c->buffer[c->at++] = byte;
}

static inline uint8_t mix_byte_in(struct mix_coder *c)
{
    return c->at < c->len ? c->buffer[c->at++] : mix_buffer_fill(c);
}

/* One bit that is 1 with probability p / 65536; 0 < p < 65536. */
static inline unsigned mix_code(struct mix_coder *c, unsigned bit, uint32_t p)
{
    uint32_t mid = c->low + (uint32_t)(((uint64_t)(c->high - c->low) * p) >> 16);
    if (!c->encoding)
        bit = c->code <= mid;
    if (bit)
        c->high = mid;
    else
        c->low = mid + 1;
    while (((c->low ^ c->high) >> 24) == 0) {
        if (c->encoding)
            mix_byte_out(c, (uint8_t)(c->high >> 24));
        else
            c->code = c->code << 8 | mix_byte_in(c);
        c->low <<= 8;
        c->high = c->high << 8 | 255;
    }
    return bit;
}

/* One bit of an adaptive probability of its own. */
static inline unsigned mix_code_bit(struct mix_coder *c, unsigned bit, mix_bit *b, unsigned limit)
{
    uint32_t p = mix_bit_p(*b) >> 6;
    bit = mix_code(c, bit, p < 32 ? 32 : p > 65504 ? 65504 : p);
    mix_bit_learn(c, b, bit, limit);
    return bit;
}

/* count bits that cannot be predicted, the highest first. */
static inline uint64_t mix_code_raw(struct mix_coder *c, uint64_t value, unsigned count)
{
    uint64_t out = 0;
    while (count-- > 0)
        out = out << 1 | mix_code(c, (unsigned)(value >> count) & 1, 32768);
    return out;
}

/* One bit from count opinions, whose weights learn too; rate about 2 (slow) to 14. count should be constant. */
static inline unsigned mix_code_mixed(struct mix_coder *c, unsigned bit, mix_bit *const *bits, size_t count,
                                      int32_t *weights, unsigned limit, int rate)
{
    int32_t s[MIX_INPUTS_MAX];
    int64_t dot = 0;
    for (size_t i = 0; i < count; i++) {
        s[i] = c->stretch[mix_bit_p(*bits[i]) >> 10];
        dot += (int64_t)s[i] * weights[i];
    }
    dot >>= 16;
    int32_t x = dot > 2047 ? 2047 : dot < -2047 ? -2047 : (int32_t)dot;
    int32_t p = c->squash[x + 2048];
    bit = mix_code(c, bit, (uint32_t)p);
    int32_t miss = ((int32_t)(bit << 16) - p) * rate;
    for (size_t i = 0; i < count; i++) {
        weights[i] += (int32_t)(((int64_t)s[i] * miss + (1 << 17)) >> 18);
        mix_bit_learn(c, bits[i], bit, limit);
    }
    return bit;
}
