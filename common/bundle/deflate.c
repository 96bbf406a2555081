#include "common/bundle/deflate.h"

#include "common/base/cleanup.h"
#include "common/base/file.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

/* 4 MiB, half of what a reader allows: it is memory of every device that takes the bundle. */
enum { IN = 64 * 1024, OUT = 64 * 1024, LEVEL = 15, WINDOW_LOG = 22 };

struct deflation {
    ZSTD_CCtx *zstd;
    struct sha256 *hash;
    int out;
    int64_t size;
};

static void cleanup_deflation(struct deflation *d)
{
    (void)ZSTD_freeCCtx(d->zstd);
    sha256_free(d->hash);
}

static enum err deflation_start(struct deflation *d)
{
    enum err e = sha256_new(&d->hash);
    d->zstd = ZSTD_createCCtx();
    if (e != ERR_OK)
        return e;
    if (d->zstd == NULL || ZSTD_isError(ZSTD_CCtx_setParameter(d->zstd, ZSTD_c_compressionLevel, LEVEL)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(d->zstd, ZSTD_c_windowLog, WINDOW_LOG)))
        return ERR_NO_MEMORY;
    return ERR_OK;
}

/* Feeds bytes; last: and ends the frame. */
static enum err deflation_add(struct deflation *d, const void *bytes, size_t len, bool last, struct err_info *info)
{
    char out[OUT];
    ZSTD_inBuffer in = {.src = bytes, .size = len, .pos = 0};
    for (size_t rest = 1; rest > 0 || in.pos < in.size;) {
        ZSTD_outBuffer made = {.dst = out, .size = sizeof out, .pos = 0};
        rest = ZSTD_compressStream2(d->zstd, &made, &in, last ? ZSTD_e_end : ZSTD_e_continue);
        if (ZSTD_isError(rest))
            return err_set(info, ERR_NO_MEMORY, "cannot compress: %s", ZSTD_getErrorName(rest));
        enum err e = made.pos == 0 ? ERR_OK : sha256_add(d->hash, out, made.pos);
        if (e == ERR_OK)
            e = file_write_fd(d->out, out, made.pos);
        if (e != ERR_OK)
            return err_set(info, e, "cannot write a temporary file: %s", err_name(e));
        d->size += (int64_t)made.pos;
        if (!last && in.pos == in.size)
            break;
    }
    return ERR_OK;
}

enum err deflate_fd(int fd, int out, struct deflated *ret_deflated, struct err_info *info)
{
    [[gnu::cleanup(cleanup_deflation)]] struct deflation d = {.out = out};
    char chunk[IN];
    off_t offset = lseek(out, 0, SEEK_CUR);
    enum err e = offset < 0 ? ERR_IO : deflation_start(&d);
    for (ssize_t n = 1; e == ERR_OK && n != 0;) {
        n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(info, err_from_errno(errno), "cannot read: %s", strerror(errno));
        e = deflation_add(&d, chunk, (size_t)n, n == 0, info);
    }
    if (e == ERR_OK)
        e = sha256_end(d.hash, ret_deflated->sha256);
    if (e != ERR_OK)
        return e;
    ret_deflated->offset = offset;
    ret_deflated->size = d.size;
    return ERR_OK;
}
