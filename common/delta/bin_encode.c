#include "common/delta/bin_encode.h"

#include "common/delta/bin_parse.h"

#include <stdlib.h>
#include <string.h>

/* Segments are parsed at once, by several threads; their size is part of the result, the number of threads is not. */
enum { SEGMENT = 1024 * 1024, BATCH = 32 };

struct encoder {
    struct bin_texts texts;
    const struct bin_coding *coding;
    void *model;
    struct progress *progress;
    size_t start; /* of the batch */
    struct bin_ops found[BATCH];
    struct bin_ops ops; /* of the batch, put together */
    size_t at;          /* bytes that were coded */
};

static void told(struct encoder *x, size_t done)
{
    if (x->progress != NULL)
        progress_tell(x->progress, (double)done / (double)(x->texts.new_size + 1));
}

static enum err segment_parse(void *user, size_t i)
{
    struct encoder *x = user;
    size_t start = x->start + i * SEGMENT;
    size_t end = start + SEGMENT < x->texts.new_size ? start + SEGMENT : x->texts.new_size;
    enum err e = bin_parse(&x->texts, start, end, &x->found[i]);
    told(x, start);
    return e;
}

static uint8_t old_of_literal(const struct encoder *x)
{
    const int64_t base = x->coding->old_of_literal(x->model, (int64_t)x->at);
    return base >= 0 && (uint64_t)base < x->texts.old_size ? x->texts.old[base] : 0;
}

static void literals_code(struct encoder *x, size_t len)
{
    const bool single = x->coding->single_literals;
    while (len > 0) {
        struct bin_op op = {.kind = BIN_LITERALS, .len = single ? 1 : len};
        x->coding->op(x->model, (int64_t)x->at, &op);
        x->coding->literals(x->model, x->texts.new + x->at, NULL, op.len, single ? old_of_literal(x) : 0);
        x->at += op.len;
        len -= op.len;
    }
}

static void op_code(struct encoder *x, struct bin_op op)
{
    const struct bin_texts *t = &x->texts;
    const struct bin_coding *coding = x->coding;
    if (op.kind == BIN_LITERALS) {
        literals_code(x, op.len);
        return;
    }
    coding->op(x->model, (int64_t)x->at, &op);
    if (op.kind == BIN_APPROX) {
        coding->approx_start(x->model);
        coding->approx(x->model, t->old + op.from, t->new + x->at, NULL, op.len, op.len);
    }
    if (op.kind == BIN_STORED) {
        coding->stored_start(x->model);
        coding->stored_write(x->model, t->new + x->at, op.len);
        coding->stored_end(x->model);
    }
    coding->copied(x->model, t->new + x->at, op.len, &op);
    x->at += op.len;
}

/* The index of the old file, and chains of the new one. */
struct indexes {
    struct bin_index *old;
    struct bin_chains *chains, *chains_long;
};

static enum err batch_code(struct encoder *x, const struct indexes *indexes, int threads)
{
    size_t left = x->texts.new_size - x->start;
    size_t end = left < (size_t)BATCH * SEGMENT ? x->texts.new_size : x->start + (size_t)BATCH * SEGMENT;
    size_t count = (end - x->start + SEGMENT - 1) / SEGMENT;
    bin_chains_add(indexes->chains, end);
    bin_chains_add(indexes->chains_long, end);
    enum err e = parallel_run(count, threads, segment_parse, x);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; e == ERR_OK && k < x->found[i].count; k++)
            e = bin_ops_add(&x->ops, x->found[i].items[k]);
        bin_ops_free(&x->found[i]);
    }
    /* The last op stays: the next batch may make it longer. */
    bool last = end == x->texts.new_size;
    for (size_t k = 0; e == ERR_OK && k + !last < x->ops.count; k++) {
        op_code(x, x->ops.items[k]);
        e = x->coding->error(x->model);
    }
    if (e == ERR_OK && !last && x->ops.count > 0) {
        x->ops.items[0] = x->ops.items[x->ops.count - 1];
        x->ops.count = 1;
    }
    x->start = end;
    return e;
}

/* The whole file is the old one. */
static enum err same_code(struct encoder *x, uint64_t *ret_len)
{
    op_code(x, (struct bin_op){.kind = BIN_OLD, .len = x->texts.new_size});
    return x->coding->end(x->model, ret_len);
}

static enum err encode(struct encoder *x, struct indexes *indexes, const struct delta_options *options,
                       uint64_t *ret_len)
{
    struct bin_texts *t = &x->texts;
    if (t->new_size > 0 && t->new_size == t->old_size && memcmp(t->old, t->new, t->new_size) == 0)
        return same_code(x, ret_len);
    enum { BACK = BATCH * SEGMENT };
    enum err e = bin_index_make(t->old, t->old_size, options->effort, &indexes->old);
    if (e == ERR_OK)
        e = bin_chains_make(t->new, t->new_size, BACK, BIN_CHAINS_MIN, &indexes->chains);
    if (e == ERR_OK)
        e = bin_chains_make(t->new, t->new_size, BACK, BIN_CHAINS_LONG, &indexes->chains_long);
    if (e != ERR_OK)
        return e;
    t->index = indexes->old;
    t->chains = indexes->chains;
    t->chains_long = indexes->chains_long;
    while (e == ERR_OK && x->start < x->texts.new_size)
        e = batch_code(x, indexes, parallel_threads(options));
    return e == ERR_OK ? x->coding->end(x->model, ret_len) : e;
}

enum err bin_encode(const struct bin_pair *pair, const struct delta_options *options, struct progress *progress,
                    struct coded_pipe sink, uint64_t *ret_len)
{
    struct indexes indexes = {0};
    struct encoder x = {.texts = {.old = pair->old,
                                  .old_size = pair->old_size,
                                  .new = pair->new,
                                  .new_size = pair->new_size,
                                  .effort = options->effort},
                        .coding = bin_coding_of(options->effort),
                        .progress = progress};
    x.model = x.coding->encoder_new(sink);
    enum err e = x.model == NULL ? ERR_NO_MEMORY : encode(&x, &indexes, options, ret_len);
    bin_index_free(indexes.old);
    bin_chains_free(indexes.chains);
    bin_chains_free(indexes.chains_long);
    bin_ops_free(&x.ops);
    x.coding->free(x.model);
    return e;
}
