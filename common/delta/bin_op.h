#pragma once
/* How a file that is no tensor is told: steps of a rebuild, and what a model of them has to be able to do. There are
 * two models: bin_model.h for "best" and bin_fast.h for "fast". Internal to common/delta. */

#include "common/delta/delta.h"
#include "common/delta/pipe.h"

#include <stdbool.h>

enum bin_kind {
    BIN_LITERALS, /* len bytes, each predicted from those before it, and at "best" the old byte at the same place */
    BIN_SELF,     /* len bytes as they were `from` bytes before */
    BIN_OLD,      /* len bytes of the old file at `from` */
    BIN_APPROX,   /* the same, with differences */
    BIN_STORED,   /* len bytes that cannot be predicted */
    BIN_KINDS
};

enum { BIN_AHEAD = 4 };

struct bin_op {
    enum bin_kind kind;
    uint64_t len; /* at least 1 */
    int64_t from;
};

/* Old offset - new offset of the last copies, all different: most copies go on with one of them. */
enum { BIN_ALIGNS = 3 };
struct bin_aligns {
    int64_t last[BIN_ALIGNS];
};

void bin_aligns_start(struct bin_aligns *aligns);

/* Which of them it is; BIN_ALIGNS: none. */
size_t bin_aligns_find(const struct bin_aligns *aligns, int64_t align);

/* It is the last one now; which: where it stood before, BIN_ALIGNS for nowhere. */
void bin_aligns_front(struct bin_aligns *aligns, int64_t align, size_t which);

/* A model. The same functions encode and decode: each takes what is to be coded and returns it, and when decoding the
 * argument does not count. What is decoded is not checked against any file. */
struct bin_coding {
    /* bytes of heap that decoding takes */
    size_t (*memory)(void);
    /* A new model that encodes into the pipe, or decodes len bytes of it; NULL without memory. */
    void *(*encoder_new)(struct coded_pipe pipe);
    void *(*decoder_new)(struct coded_pipe pipe, uint64_t len);
    void (*free)(void *model);
    /* The kept error, for asking on the way: after one it goes on with anything. */
    enum err (*error)(const void *model);
    /* The end of the stream: the kept error, or that of the last bytes. */
    enum err (*end)(void *model, uint64_t *ret_written);
    /* One op. position: bytes of the new file so far. */
    void (*op)(void *model, int64_t position, struct bin_op *op);
    /* An op of literals has one byte only, and old_of_literal() says which old byte it needs. */
    bool single_literals;
    /* The offset of the old byte that a literal at position would be if nothing had moved; it may be outside. */
    int64_t (*old_of_literal)(const void *model, int64_t position);
    /* The bytes of BIN_LITERALS: new is NULL when decoding, ret_new when encoding. old: only for single ones. */
    void (*literals)(void *model, const uint8_t *new, uint8_t *ret_new, size_t len, uint8_t old);
    /* The bytes of BIN_APPROX. Encoding takes all of them in one call; decoding may take pieces. left: bytes of the op
     * from here to its end, at least len; of the old bytes, BIN_AHEAD - 1 more than len can be read, or all of them. */
    void (*approx_start)(void *model);
    void (*approx)(void *model, const uint8_t *old, const uint8_t *new, uint8_t *ret_new, size_t len, uint64_t left);
    /* The bytes of BIN_STORED, between start and end; write or read in pieces of any size. */
    void (*stored_start)(void *model);
    void (*stored_write)(void *model, const uint8_t *bytes, size_t len);
    void (*stored_read)(void *model, uint8_t *ret_bytes, size_t len);
    void (*stored_end)(void *model);
    /* Bytes of op, any but literals, that were copied: they teach what literals are like. Pieces of any size, not 0. */
    void (*copied)(void *model, const uint8_t *bytes, size_t len, const struct bin_op *op);
};

const struct bin_coding *bin_coding_of(enum delta_effort effort);
