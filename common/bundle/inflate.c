#include "common/bundle/inflate.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

enum { OUT = 128 * 1024, MAGIC = 4 };

struct inflate {
    ZSTD_DCtx *zstd;
    int64_t left; /* bytes that are still to come out */
    size_t seen;  /* bytes of the magic that came in, at most MAGIC */
    bool ended;   /* the frame is complete */
    enum err (*put)(void *user, const void *bytes, size_t len, struct err_info *info);
    void *user;
    char out[OUT];
};

static enum err refused(struct err_info *info, const char *why)
{
    return err_code(info, ERR_CORRUPT, "payload_mismatch", "a compressed entry: %s", why);
}

enum err inflate_new(int64_t size, enum err (*put)(void *, const void *, size_t, struct err_info *), void *user,
                     struct inflate **ret_inflate)
{
    cleanup_inflate struct inflate *z = calloc(1, sizeof *z);
    if (z == NULL)
        return ERR_NO_MEMORY;
    *z = (struct inflate){.zstd = ZSTD_createDCtx(), .left = size, .put = put, .user = user};
    if (z->zstd == NULL || ZSTD_isError(ZSTD_DCtx_setParameter(z->zstd, ZSTD_d_windowLogMax, INFLATE_WINDOW_LOG)))
        return ERR_NO_MEMORY;
    *ret_inflate = z;
    z = NULL;
    return ERR_OK;
}

struct inflate *inflate_free(struct inflate *z)
{
    if (z != NULL)
        (void)ZSTD_freeDCtx(z->zstd);
    free(z);
    return NULL;
}

/* libzstd would skip frames that carry nothing, in any number, so the first bytes must be those of a real one. */
static bool magic_ok(struct inflate *z, const unsigned char *bytes, size_t len)
{
    static const unsigned char magic[MAGIC] = {0x28, 0xb5, 0x2f, 0xfd};
    size_t n = len < MAGIC - z->seen ? len : MAGIC - z->seen;
    bool ok = memcmp(bytes, magic + z->seen, n) == 0;
    z->seen += n;
    return ok;
}

/* One step of the decoder, and its output passed on. */
static enum err step(struct inflate *z, ZSTD_inBuffer *in, bool *ret_full, struct err_info *info)
{
    ZSTD_outBuffer out = {.dst = z->out, .size = sizeof z->out, .pos = 0};
    size_t rest = ZSTD_decompressStream(z->zstd, &out, in);
    if (ZSTD_isError(rest) && ZSTD_getErrorCode(rest) == ZSTD_error_memory_allocation)
        return ERR_NO_MEMORY; /* ours, not the bundle's fault */
    if (ZSTD_isError(rest))
        return refused(info, ZSTD_getErrorName(rest));
    if ((int64_t)out.pos > z->left)
        return refused(info, "there is more in it than the manifest says");
    z->left -= (int64_t)out.pos;
    z->ended = rest == 0;
    *ret_full = out.pos == out.size;
    return out.pos == 0 ? ERR_OK : z->put(z->user, z->out, out.pos, info);
}

enum err inflate_add(struct inflate *z, const void *bytes, size_t len, struct err_info *info)
{
    ZSTD_inBuffer in = {.src = bytes, .size = len, .pos = 0};
    bool full = false;
    if (!magic_ok(z, bytes, len))
        return refused(info, "it is not a zstd frame");
    while (in.pos < in.size || full) {
        if (z->ended)
            return in.pos < in.size ? refused(info, "there are bytes behind the end of the frame") : ERR_OK;
        enum err e = step(z, &in, &full, info);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

enum err inflate_end(struct inflate *z, struct err_info *info)
{
    if (!z->ended)
        return refused(info, "the frame is cut short");
    return z->left == 0 ? ERR_OK : refused(info, "there is less in it than the manifest says");
}
