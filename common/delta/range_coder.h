#pragma once
/* Binary range coder with 16-bit probabilities and, beside it, a stream of raw bits. Both end up in one block: the
 * range-coded bytes, then the raw ones. Internal to common/delta; inline because it is the inner loop. */

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { RANGE_PROBABILITY_BITS = 16 };

#define ALWAYS_INLINE static inline __attribute__((always_inline))

struct byte_stream {
    uint8_t *data;
    size_t len, room;
};

struct range_encoder {
    uint64_t low, range;
    uint64_t bits; /* raw bits that are not in a byte yet, lowest first */
    unsigned bit_count;
    struct byte_stream coded, raw;
};

struct range_decoder {
    uint64_t code, range;
    const uint8_t *coded, *coded_end;
    uint64_t bits;
    unsigned bit_count;
    const uint8_t *raw, *raw_end;
};

/* Room for so many more bytes in each stream. ERR_NO_MEMORY. */
[[nodiscard]] enum err range_encoder_reserve(struct range_encoder *coder, size_t bytes);

/* Begins a block; the memory of the last one is kept. */
void range_encoder_start(struct range_encoder *coder);

/* Ends the block: afterwards coded and raw hold it, without trailing zeros. Needs 16 bytes reserved. */
void range_encoder_finish(struct range_encoder *coder);

void range_encoder_free(struct range_encoder *coder);

/* Reads a block; what lies behind its end reads as zeros. */
void range_decoder_start(struct range_decoder *coder, const uint8_t *coded, size_t coded_len, const uint8_t *raw,
                         size_t raw_len);

/* Adds the carry to the bytes that are already out. */
void range_carry(uint8_t *bytes, size_t len);

/* When a word of low is settled it goes out. */
ALWAYS_INLINE void range_put_word(struct range_encoder *coder)
{
    if (coder->range >> 32 == 0) {
        const uint32_t word = __builtin_bswap32((uint32_t)(coder->low >> 32));
        memcpy(coder->coded.data + coder->coded.len, &word, sizeof word);
        coder->coded.len += sizeof word;
        coder->low <<= 32;
        coder->range <<= 32;
    }
}

/* one: the probability of a 1, in 1/65536, 1 … 65535. */
ALWAYS_INLINE void range_encode(struct range_encoder *coder, bool bit, uint32_t one)
{
    const uint64_t bound = (coder->range >> RANGE_PROBABILITY_BITS) * one;
    if (bit) {
        coder->range = bound;
    } else {
        coder->low += bound;
        coder->range -= bound;
        if (coder->low < bound)
            range_carry(coder->coded.data, coder->coded.len);
    }
    range_put_word(coder);
}

ALWAYS_INLINE uint32_t range_next_word(struct range_decoder *coder)
{
    const size_t left = (size_t)(coder->coded_end - coder->coded);
    uint32_t word = 0;
    if (left >= sizeof word) {
        memcpy(&word, coder->coded, sizeof word);
        coder->coded += sizeof word;
    } else {
        memcpy(&word, coder->coded, left);
        coder->coded += left;
    }
    return __builtin_bswap32(word);
}

ALWAYS_INLINE void range_refill(struct range_decoder *coder)
{
    if (coder->range >> 32 == 0) {
        coder->range <<= 32;
        coder->code = coder->code << 32 | range_next_word(coder);
    }
}

ALWAYS_INLINE bool range_decode(struct range_decoder *coder, uint32_t one)
{
    const uint64_t bound = (coder->range >> RANGE_PROBABILITY_BITS) * one;
    const bool bit = coder->code < bound;
    coder->range = bit ? bound : coder->range - bound;
    coder->code -= bit ? 0 : bound;
    range_refill(coder);
    return bit;
}

/* The same for decisions that are nearly always 0: a branch, so that the processor goes on before it has the answer. */
ALWAYS_INLINE bool range_decode_rare(struct range_decoder *coder, uint32_t one)
{
    const uint64_t bound = (coder->range >> RANGE_PROBABILITY_BITS) * one;
    if (__builtin_expect(coder->code < bound, 0)) {
        coder->range = bound;
        range_refill(coder);
        return true;
    }
    coder->range -= bound;
    coder->code -= bound;
    range_refill(coder);
    return false;
}

/* One of several: it has start … end of 1 << bits, at most 16, which is where decoding finds the place. */
ALWAYS_INLINE void range_encode_part(struct range_encoder *coder, uint32_t start, uint32_t end, unsigned bits)
{
    const uint64_t step = coder->range >> bits;
    const uint64_t below = step * start;
    coder->low += below;
    coder->range = step * (end - start);
    if (coder->low < below)
        range_carry(coder->coded.data, coder->coded.len);
    range_put_word(coder);
}

/* 0 … (1 << bits) - 1, also of corrupt input. */
ALWAYS_INLINE uint32_t range_decode_place(const struct range_decoder *coder, unsigned bits)
{
    const uint64_t place = coder->code / (coder->range >> bits);
    return (uint32_t)(place >> bits == 0 ? place : (1U << bits) - 1);
}

ALWAYS_INLINE void range_decode_part(struct range_decoder *coder, uint32_t start, uint32_t end, unsigned bits)
{
    const uint64_t step = coder->range >> bits;
    coder->code -= step * start;
    coder->range = step * (end - start);
    range_refill(coder);
}

/* count: 0 … 32. */
ALWAYS_INLINE void range_put_bits(struct range_encoder *coder, uint32_t value, unsigned count)
{
    coder->bits |= (uint64_t)value << coder->bit_count;
    coder->bit_count += count;
    if (coder->bit_count >= 32) {
        const uint32_t word = (uint32_t)coder->bits;
        memcpy(coder->raw.data + coder->raw.len, &word, sizeof word);
        coder->raw.len += sizeof word;
        coder->bits >>= 32;
        coder->bit_count -= 32;
    }
}

ALWAYS_INLINE uint32_t range_get_bits(struct range_decoder *coder, unsigned count)
{
    if (coder->bit_count < count) {
        const size_t left = (size_t)(coder->raw_end - coder->raw);
        uint32_t word = 0;
        const size_t take = left < sizeof word ? left : sizeof word;
        memcpy(&word, coder->raw, take);
        coder->raw += take;
        coder->bits |= (uint64_t)word << coder->bit_count;
        coder->bit_count += 32;
    }
    const uint32_t value = (uint32_t)(coder->bits & ((1ULL << count) - 1));
    coder->bits >>= count;
    coder->bit_count -= count;
    return value;
}
