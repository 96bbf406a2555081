#include "common/delta/range_coder.h"

#include <stdlib.h>

static enum err stream_reserve(struct byte_stream *stream, size_t bytes)
{
    if (stream->room - stream->len >= bytes)
        return ERR_OK;
    const size_t room = stream->room + stream->room / 2 + bytes;
    uint8_t *grown = realloc(stream->data, room);
    if (grown == NULL)
        return ERR_NO_MEMORY;
    stream->data = grown;
    stream->room = room;
    return ERR_OK;
}

enum err range_encoder_reserve(struct range_encoder *coder, size_t bytes)
{
    enum err e = stream_reserve(&coder->coded, bytes);
    if (e == ERR_OK)
        e = stream_reserve(&coder->raw, bytes);
    return e;
}

void range_encoder_start(struct range_encoder *coder)
{
    coder->low = 0;
    coder->range = UINT64_MAX;
    coder->bits = 0;
    coder->bit_count = 0;
    coder->coded.len = 0;
    coder->raw.len = 0;
}

void range_carry(uint8_t *bytes, size_t len)
{
    while (len > 0 && ++bytes[len - 1] == 0)
        len--;
}

static void trim(struct byte_stream *stream)
{
    while (stream->len > 0 && stream->data[stream->len - 1] == 0)
        stream->len--;
}

void range_encoder_finish(struct range_encoder *coder)
{
    /* The shortest number inside the last interval; the decoder reads zeros behind it. */
    uint64_t value = coder->low;
    for (unsigned bytes = 0; bytes < 8; bytes++) {
        const uint64_t mask = bytes == 0 ? UINT64_MAX : (1ULL << (64 - 8 * bytes)) - 1;
        const uint64_t rounded = (coder->low + mask) & ~mask; /* may wrap to the carry */
        if (rounded - coder->low < coder->range) {
            value = rounded;
            break;
        }
    }
    if (value < coder->low)
        range_carry(coder->coded.data, coder->coded.len);
    for (; value != 0; value <<= 8)
        coder->coded.data[coder->coded.len++] = (uint8_t)(value >> 56);
    for (; coder->bits != 0; coder->bits >>= 8)
        coder->raw.data[coder->raw.len++] = (uint8_t)coder->bits;
    trim(&coder->coded);
    trim(&coder->raw);
}

void range_encoder_free(struct range_encoder *coder)
{
    free(coder->coded.data);
    free(coder->raw.data);
    *coder = (struct range_encoder){};
}

void range_decoder_start(struct range_decoder *coder, const uint8_t *coded, size_t coded_len, const uint8_t *raw,
                         size_t raw_len)
{
    *coder = (struct range_decoder){
        .range = UINT64_MAX, .coded = coded, .coded_end = coded + coded_len, .raw = raw, .raw_end = raw + raw_len};
    const uint64_t high = range_next_word(coder);
    coder->code = high << 32 | range_next_word(coder);
}
