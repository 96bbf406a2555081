#include "common/delta/mix.h"

#include <string.h>

void mix_tables_make(struct mix_tables *t)
{
    /* 65536 / (1 + exp(-x / 256)) at x = -2048, -1920, … 2048 */
    static const uint16_t points[33] = {22,    36,    60,    98,    162,   267,   439,   720,   1179,  1921,  3108,
                                        4971,  7812,  11955, 17625, 24743, 32768, 40793, 47911, 53581, 57724, 60565,
                                        62428, 63615, 64357, 64816, 65097, 65269, 65374, 65438, 65476, 65500, 65514};
    for (unsigned i = 0; i < 4096; i++) {
        unsigned at = i >> 7;
        unsigned part = i & 127;
        t->squash[i] = (uint16_t)((points[at] * (128 - part) + points[at + 1] * part + 64) >> 7);
    }
    /* The inverse: the first x whose probability is at least as high. */
    unsigned x = 0;
    for (unsigned p = 0; p < 4096; p++) {
        while (x < 4095 && t->squash[x] < p * 16 + 8)
            x++;
        t->stretch[p] = (int16_t)((int)x - 2048);
    }
    for (unsigned n = 0; n < 1024; n++)
        t->inverse[n] = (uint32_t)(65536 * 2 / (2 * n + 3));
}

static void interval_start(struct mix_coder *c)
{
    c->low = 0;
    c->high = UINT32_MAX;
    c->code = 0;
    for (int i = 0; i < 4 && !c->encoding; i++)
        c->code = c->code << 8 | mix_byte_in(c);
}

static void coder_start(struct mix_coder *c, const struct mix_tables *tables, struct coded_pipe pipe)
{
    c->error = ERR_OK;
    c->pipe = pipe;
    c->left = c->written = 0;
    c->overrun = 0;
    c->at = c->len = 0;
    c->squash = tables->squash;
    c->stretch = tables->stretch;
    c->inverse = tables->inverse;
}

void mix_encode_start(struct mix_coder *c, const struct mix_tables *tables, struct coded_pipe pipe)
{
    coder_start(c, tables, pipe);
    c->encoding = true;
    interval_start(c);
}

void mix_decode_start(struct mix_coder *c, const struct mix_tables *tables, struct coded_pipe pipe, uint64_t len)
{
    coder_start(c, tables, pipe);
    c->encoding = false;
    c->left = len;
    interval_start(c);
}

void mix_buffer_flush(struct mix_coder *c)
{
    if (c->error == ERR_OK && c->at > 0)
        c->error = c->pipe.write(c->pipe.user, c->buffer, c->at);
    c->written += c->at;
    c->at = 0;
}

/* The encoder leaves out what the end does not need, so a few bytes more than there are is no error. */
uint8_t mix_buffer_fill(struct mix_coder *c)
{
    size_t n = c->left < MIX_BUFFER ? (size_t)c->left : MIX_BUFFER;
    if (c->error == ERR_OK && n > 0)
        c->error = c->pipe.read(c->pipe.user, c->buffer, n);
    if (c->error == ERR_OK && n == 0 && ++c->overrun > MIX_OVERRUN_MAX)
        c->error = ERR_CORRUPT;
    if (c->error != ERR_OK || n == 0)
        return 0;
    c->left -= n;
    c->at = 1;
    c->len = n;
    return c->buffer[0];
}

enum err mix_encode_end(struct mix_coder *c)
{
    /* As many bytes as tell low … high from anything else: the decoder reads zeros behind them. */
    uint32_t end = c->low == 0 ? 0 : c->high & 0xff000000u;
    if (end < c->low)
        end = c->high & 0xffff0000u;
    if (end < c->low)
        end = c->high;
    for (; end != 0; end <<= 8)
        mix_byte_out(c, (uint8_t)(end >> 24));
    mix_buffer_flush(c);
    return c->error;
}

enum err mix_decode_end(struct mix_coder *c)
{
    if (c->error == ERR_OK && (c->left > 0 || c->at < c->len))
        c->error = ERR_CORRUPT; /* bytes that mean nothing */
    return c->error;
}

/* What the decoder has read ahead are these four bytes, so both stand at the same place afterwards. */
void mix_plain_start(struct mix_coder *c)
{
    for (int shift = 24; shift >= 0 && c->encoding; shift -= 8)
        mix_byte_out(c, (uint8_t)(c->low >> shift));
}

void mix_plain_write(struct mix_coder *c, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        if (c->at == MIX_BUFFER)
            mix_buffer_flush(c);
        const size_t n = len < MIX_BUFFER - c->at ? len : MIX_BUFFER - c->at;
        memcpy(c->buffer + c->at, bytes, n);
        c->at += n;
        bytes += n;
        len -= n;
    }
}

void mix_plain_read(struct mix_coder *c, uint8_t *ret_bytes, size_t len)
{
    while (len > 0) {
        *ret_bytes++ = mix_byte_in(c);
        len--;
        const size_t ready = c->len - c->at;
        const size_t n = len < ready ? len : ready;
        memcpy(ret_bytes, c->buffer + c->at, n);
        c->at += n;
        ret_bytes += n;
        len -= n;
    }
}

void mix_plain_end(struct mix_coder *c)
{
    interval_start(c);
}
