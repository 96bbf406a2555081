#include "common/delta/bin_decode.h"

#include "common/base/cleanup.h"

#include <stdlib.h>
#include <string.h>

enum { RING = 256 * 1024, FLUSH = 64 * 1024 };

/* The last bytes of the new file are held in a ring, the older ones are read again. */
struct rebuild {
    const struct bin_rebuild *what;
    const struct bin_coding *coding;
    void *model;
    struct vfile *old;
    uint8_t *ring;
    int64_t at;      /* bytes rebuilt */
    int64_t flushed; /* bytes written */
};

size_t bin_decode_memory(enum delta_effort effort)
{
    return bin_coding_of(effort)->memory() + sizeof(struct vfile) + RING;
}

static enum err flush(struct rebuild *r)
{
    enum err e = ERR_OK;
    while (e == ERR_OK && r->flushed < r->at) {
        size_t start = (size_t)(r->flushed % RING);
        size_t n = (size_t)(r->at - r->flushed);
        if (n > RING - start)
            n = RING - start;
        e = span_list_write(r->what->new, r->what->new_fd, r->flushed, r->ring + start, n);
        if (e == ERR_OK && r->what->hash != NULL)
            e = sha256_add(r->what->hash, r->ring + start, n);
        r->flushed += (int64_t)n;
    }
    return e;
}

/* Where the next bytes go, and how many fit there in one piece, at most `wanted`. */
static uint8_t *room(struct rebuild *r, uint64_t wanted, size_t *ret_len)
{
    size_t start = (size_t)(r->at % RING);
    size_t n = RING - start < FLUSH ? RING - start : FLUSH;
    *ret_len = wanted < n ? (size_t)wanted : n;
    return r->ring + start;
}

/* Counts the len bytes that were put there. */
static enum err advance(struct rebuild *r, size_t len)
{
    r->at += (int64_t)len;
    return r->at - r->flushed >= FLUSH ? flush(r) : ERR_OK;
}

/* The same, unless the model has found that they mean nothing. */
static enum err decoded(struct rebuild *r, size_t len)
{
    const enum err e = r->coding->error(r->model);
    return e == ERR_OK ? advance(r, len) : e;
}

static enum err old_copy(struct rebuild *r, const struct bin_op *op)
{
    int64_t from = op->from;
    uint64_t left = op->len;
    enum err e = ERR_OK;
    if (op->kind == BIN_APPROX)
        r->coding->approx_start(r->model);
    while (e == ERR_OK && left > 0) {
        const uint8_t *old = NULL;
        size_t len = 0;
        size_t n = 0;
        uint8_t *new = room(r, left, &n);
        e = vfile_at(r->old, from, &old, &len);
        if (e != ERR_OK)
            return e;
        n = n < len ? n : len;
        if (op->kind == BIN_APPROX)
            r->coding->approx(r->model, old, NULL, new, n, left);
        else
            memcpy(new, old, n);
        r->coding->copied(r->model, new, n, op);
        e = decoded(r, n);
        from += (int64_t)n;
        left -= n;
    }
    return e;
}

static enum err self_copy(struct rebuild *r, const struct bin_op *op)
{
    uint64_t left = op->len;
    enum err e = ERR_OK;
    while (e == ERR_OK && left > 0) {
        size_t n = 0;
        int64_t from = r->at - op->from;
        uint8_t *new = room(r, left, &n);
        if (op->from > RING - FLUSH) { /* far: it was written long ago */
            n = n < FLUSH ? n : FLUSH;
            if (from + (int64_t)n > r->flushed)
                n = (size_t)(r->flushed - from);
            e = span_list_read(r->what->new, r->what->new_fd, from, new, n);
        } else { /* byte by byte, as it may repeat itself */
            for (size_t i = 0; i < n; i++)
                new[i] = r->ring[((uint64_t)from + i) % RING];
        }
        r->coding->copied(r->model, new, n, op);
        if (e == ERR_OK)
            e = advance(r, n);
        left -= n;
    }
    return e;
}

static enum err stored_copy(struct rebuild *r, const struct bin_op *op)
{
    uint64_t left = op->len;
    enum err e = ERR_OK;
    r->coding->stored_start(r->model);
    while (e == ERR_OK && left > 0) {
        size_t n = 0;
        uint8_t *new = room(r, left, &n);
        r->coding->stored_read(r->model, new, n);
        r->coding->copied(r->model, new, n, op);
        e = decoded(r, n);
        left -= n;
    }
    r->coding->stored_end(r->model);
    return e;
}

/* One byte, beside the old one. */
static enum err literal(struct rebuild *r)
{
    int64_t base = r->coding->old_of_literal(r->model, r->at);
    const uint8_t *old = NULL;
    uint8_t zero = 0;
    size_t n = 1;
    if (base >= 0 && base < r->what->old->size) {
        enum err e = vfile_at(r->old, base, &old, &n);
        if (e != ERR_OK)
            return e;
    } else {
        old = &zero;
    }
    uint8_t *new = room(r, 1, &n);
    r->coding->literals(r->model, NULL, new, 1, *old);
    return decoded(r, 1);
}

static enum err literals(struct rebuild *r, const struct bin_op *op)
{
    enum err e = ERR_OK;
    if (r->coding->single_literals)
        return literal(r);
    for (uint64_t left = op->len; e == ERR_OK && left > 0;) {
        size_t n = 0;
        uint8_t *new = room(r, left, &n);
        r->coding->literals(r->model, NULL, new, n, 0);
        e = decoded(r, n);
        left -= n;
    }
    return e;
}

static enum err op_run(struct rebuild *r, const struct bin_op *op)
{
    if (op->len > (uint64_t)(r->what->new->size - r->at))
        return ERR_CORRUPT;
    switch (op->kind) {
    case BIN_LITERALS:
        return literals(r, op);
    case BIN_SELF:
        return op->from < 1 || op->from > r->at ? ERR_CORRUPT : self_copy(r, op);
    case BIN_OLD:
    case BIN_APPROX:
        if (op->from < 0 || op->from > r->what->old->size || op->len > (uint64_t)(r->what->old->size - op->from))
            return ERR_CORRUPT;
        return old_copy(r, op);
    case BIN_STORED:
        return stored_copy(r, op);
    default:
        return ERR_CORRUPT;
    }
}

static void rebuild_free(const struct rebuild *r)
{
    r->coding->free(r->model);
    free(r->old);
    free(r->ring);
}

enum err bin_decode(const struct bin_rebuild *what)
{
    [[gnu::cleanup(rebuild_free)]] struct rebuild r = {.what = what, .coding = bin_coding_of(what->effort)};
    r.model = r.coding->decoder_new(what->pipe, what->coded);
    r.old = vfile_new(what->old_fd, what->old);
    r.ring = malloc(RING);
    if (r.model == NULL || r.old == NULL || r.ring == NULL)
        return ERR_NO_MEMORY;
    enum err e = r.coding->error(r.model);
    while (e == ERR_OK && r.at < what->new->size) {
        struct bin_op op = {0};
        r.coding->op(r.model, r.at, &op);
        e = r.coding->error(r.model);
        if (e == ERR_OK)
            e = op_run(&r, &op);
    }
    if (e == ERR_OK)
        e = flush(&r);
    return e == ERR_OK ? r.coding->end(r.model, NULL) : e;
}
