#pragma once
/* The model of files that are no tensors: how a new file is told as copies of the old one with differences, copies of
 * itself, and literal bytes, and how likely each of them is. Encoder and decoder share every function (mix.h).
 * Internal to common/delta. */

#include "common/delta/delta.h"
#include "common/delta/mix.h"

enum bin_kind {
    BIN_LITERALS, /* len bytes, each predicted from those before it and the old byte at the same place */
    BIN_SELF,     /* len bytes as they were `from` bytes before */
    BIN_OLD,      /* len bytes of the old file at `from` */
    BIN_APPROX,   /* the same, with differences */
    BIN_STORED,   /* len bytes that cannot be predicted */
    BIN_KINDS
};

/* One step of a rebuild. A run of literals is one op for the encoder; the decoder gets them one by one. */
struct bin_op {
    enum bin_kind kind;
    uint64_t len; /* at least 1 */
    int64_t from;
};

/* Numbers of any size: a length, the bits below it, and the lowest ones, because addresses are aligned. */
struct bin_number {
    mix_bit length[64], high[64][4], low[8];
};

enum { BIN_BYTE_INPUTS = 5, BIN_FLAG_INPUTS = 4, BIN_ALIGNS = 3, BIN_RUN_AFTER = 16 };

/* A byte, predicted by several contexts. */
struct bin_byte {
    mix_bit *tables[BIN_BYTE_INPUTS];
    unsigned bits[BIN_BYTE_INPUTS]; /* log2 of their size; the first two tables are indexed, the others hashed */
    int32_t weights[32][BIN_BYTE_INPUTS];
};

struct bin_model {
    enum delta_effort effort;
    struct bin_byte literal, diff;
    mix_bit *flags[BIN_FLAG_INPUTS];
    int32_t flag_weights[64][BIN_FLAG_INPUTS];
    mix_bit is_literal[BIN_KINDS][8], kind[BIN_KINDS][4];
    mix_bit self_again[2], align_again[BIN_ALIGNS], align_sign, run[2];
    struct bin_number self_len, self_distance[4], old_len, approx_len, align_step, run_len, stored_len;
    /* what was before */
    enum bin_kind last_kind;
    unsigned literal_run;
    uint64_t history; /* the last eight bytes, the newest lowest */
    bool old_hit;     /* the last literal was what the old file has there */
    uint64_t last_distance;
    int64_t aligns[BIN_ALIGNS]; /* old offset - new offset of the last copies, all different */
    /* inside a copy with differences */
    uint64_t run_left; /* bytes that are known to be the same */
    uint32_t same;     /* how many in a row were */
    uint32_t past_flags, past_diffs, past_old;
    unsigned last_diff;
    struct mix_tables tables;
    struct mix_coder coder;
};

/* What a model takes, with all it allocates. */
size_t bin_model_memory(enum delta_effort effort);

/* A new model; NULL without memory. */
struct bin_model *bin_model_new(enum delta_effort effort);
void bin_model_free(struct bin_model *m);

/* One op. Decoding fills *op; its numbers are not checked against any file. position: bytes of the new file so far. */
void bin_op_code(struct bin_model *m, int64_t position, struct bin_op *op);

/* The old byte that a literal at position would be if nothing had moved: its offset may be outside the old file. */
static inline int64_t bin_literal_base(const struct bin_model *m, int64_t position)
{
    return position + m->aligns[0];
}

/* One literal. old: the byte at bin_literal_base(), 0 when there is none. */
uint8_t bin_literal_code(struct bin_model *m, uint8_t byte, uint8_t old);

/* The bytes of BIN_APPROX. Encoding takes all of them in one call, and ret_new is NULL; decoding may take pieces, and
 * new is NULL. left: bytes of the op from here to its end, at least len. */
void bin_approx_start(struct bin_model *m);
void bin_approx_code(struct bin_model *m, const uint8_t *old, const uint8_t *new, uint8_t *ret_new, size_t len,
                     uint64_t left);

/* Bytes of op that were copied: they teach what literals are like. Pieces may be of any size. */
void bin_copied(struct bin_model *m, const uint8_t *bytes, size_t len, const struct bin_op *op);
