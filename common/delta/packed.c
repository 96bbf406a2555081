#include "common/delta/packed.h"

#include "common/base/cleanup.h"

#include <zstd.h>

enum { WINDOW_LOG = 19, CHUNK = 32 * 1024 };

/* What zstd says it needs for a stream with this window, and more than that. */
size_t packed_memory(void)
{
    return (1U << WINDOW_LOG) + 512U * 1024 + 2 * CHUNK;
}

static void compressor_free(ZSTD_CCtx **context)
{
    ZSTD_freeCCtx(*context);
}

static void decompressor_free(ZSTD_DCtx **context)
{
    ZSTD_freeDCtx(*context);
}

enum err packed_write(struct buf *out, const uint8_t *bytes, size_t len, enum delta_effort effort)
{
    [[gnu::cleanup(compressor_free)]] ZSTD_CCtx *context = ZSTD_createCCtx();
    const size_t room = ZSTD_compressBound(len);
    cleanup_free char *frame = malloc(room);
    if (context == NULL || frame == NULL ||
        ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, effort == DELTA_BEST ? 19 : 9)) != 0 ||
        ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, WINDOW_LOG)) != 0)
        return ERR_NO_MEMORY;
    const size_t size = ZSTD_compress2(context, frame, room, bytes, len);
    if (ZSTD_isError(size) != 0)
        return ERR_NO_MEMORY;
    enum err e = plan_number_write(out, size);
    return e == ERR_OK ? buf_add(out, frame, size) : e;
}

struct reading {
    ZSTD_DCtx *context;
    uint64_t left; /* bytes of the frame that were not read yet */
    ZSTD_inBuffer in;
    uint8_t from[CHUNK], to[CHUNK];
};

/* Decodes the next bytes into reading->to; a frame that does not move on is corrupt. */
static enum err chunk_read(struct coded *coded, struct reading *reading, size_t *ret_len, struct err_info *info)
{
    ZSTD_outBuffer out = {.dst = reading->to, .size = CHUNK};
    while (out.pos == 0) {
        const size_t part = reading->left < CHUNK ? (size_t)reading->left : CHUNK;
        if (reading->in.pos == reading->in.size && part != 0) {
            enum err e = coded_read(coded, reading->from, part);
            if (e != ERR_OK)
                return e;
            reading->left -= part;
            reading->in = (ZSTD_inBuffer){.src = reading->from, .size = part};
        }
        const size_t before = reading->in.pos;
        if (ZSTD_isError(ZSTD_decompressStream(reading->context, &out, &reading->in)) != 0 ||
            (out.pos == 0 && reading->in.pos == before))
            return plan_corrupt(info, "a packed tensor cannot be unpacked");
    }
    *ret_len = out.pos;
    return ERR_OK;
}

enum err packed_read(struct coded *coded, size_t len, const struct packed_sink *sink, struct err_info *info)
{
    [[gnu::cleanup(decompressor_free)]] ZSTD_DCtx *context = ZSTD_createDCtx();
    cleanup_free struct reading *reading = calloc(1, sizeof *reading);
    if (context == NULL || reading == NULL ||
        ZSTD_isError(ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, WINDOW_LOG)) != 0)
        return ERR_NO_MEMORY;
    reading->context = context;
    enum err e = plan_number_read(coded, INT64_MAX, &reading->left, info);
    while (len > 0 && e == ERR_OK) {
        size_t got = 0;
        e = chunk_read(coded, reading, &got, info);
        if (e == ERR_OK && got > len)
            e = plan_corrupt(info, "a packed tensor is too long");
        if (e == ERR_OK)
            e = sink->write(sink->user, reading->to, got);
        len -= got;
    }
    /* what is left of the frame: its end, at most */
    if (e == ERR_OK && reading->left > CHUNK)
        e = plan_corrupt(info, "a packed tensor is too long");
    if (e == ERR_OK && reading->left != 0)
        e = coded_read(coded, reading->from, (size_t)reading->left);
    return e;
}
