#include "common/delta/coded.h"

#include <string.h>

void coded_begin(struct coded *coded, const struct tensor_source *source, uint64_t at, uint64_t end)
{
    coded->source = source;
    coded->at = at;
    coded->end = end;
    coded->used = coded->len = 0;
}

static enum err fetch(struct coded *coded, uint8_t *bytes, size_t len)
{
    enum err e = len == 0 ? ERR_OK : coded->source->read(coded->source->user, coded->at, bytes, len);
    coded->at += len;
    return e;
}

static enum err fill(struct coded *coded)
{
    const uint64_t left = coded->end - coded->at;
    coded->used = 0;
    coded->len = left < sizeof coded->buffer ? (size_t)left : sizeof coded->buffer;
    return fetch(coded, coded->buffer, coded->len);
}

static size_t take(struct coded *coded, uint8_t *bytes, size_t len)
{
    const size_t ready = coded->len - coded->used;
    const size_t taken = len < ready ? len : ready;
    memcpy(bytes, coded->buffer + coded->used, taken);
    coded->used += taken;
    return taken;
}

enum err coded_read(struct coded *coded, void *bytes, size_t len)
{
    uint8_t *out = bytes;
    if (len > coded_left(coded))
        return ERR_CORRUPT;
    size_t done = take(coded, out, len);
    enum err e = ERR_OK;
    if (len - done >= sizeof coded->buffer)
        return fetch(coded, out + done, len - done);
    if (done < len) {
        e = fill(coded);
        if (e == ERR_OK)
            (void)take(coded, out + done, len - done);
    }
    return e;
}

uint64_t coded_at(const struct coded *coded)
{
    return coded->at - (coded->len - coded->used);
}

uint64_t coded_left(const struct coded *coded)
{
    return coded->end - coded_at(coded);
}
