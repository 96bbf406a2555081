#include "common/delta/bin_model.h"

#include "common/delta/mix.h"

#include <stdlib.h>
#include <string.h>

enum {
    OP_LIMIT = 250,
    FLAG_LIMIT = 500,
    BYTE_LIMIT = 250,
    OP_RATE = 5,
    LITERAL_RATE = 4,
    FIRST_WEIGHT = 65536 * 2 / 5,
    LEARN_MAX = 64, /* copies up to that length teach the literals */
    RUN_MIN = 32    /* shorter runs are told byte by byte */
};

/* Numbers of any size: a length, the bits below it, and the lowest ones, because addresses are aligned. */
struct number {
    mix_bit length[64], high[64][4], low[8];
};

enum { BYTE_INPUTS = 5, FLAG_INPUTS = 4, RUN_AFTER = 16 };

/* A byte, predicted by several contexts. */
struct byte {
    mix_bit *tables[BYTE_INPUTS];
    unsigned bits[BYTE_INPUTS]; /* log2 of their size; the first two tables are indexed, the others hashed */
    int32_t weights[32][BYTE_INPUTS];
};

struct bin_model {
    struct byte literal, diff;
    mix_bit *flags[FLAG_INPUTS];
    int32_t flag_weights[64][FLAG_INPUTS];
    mix_bit is_literal[BIN_KINDS][8], kind[BIN_KINDS][4];
    mix_bit self_again[2], align_again[BIN_ALIGNS], align_sign, run[2];
    struct number self_len, self_distance[4], old_len, approx_len, align_step, run_len, stored_len;
    /* what was before */
    enum bin_kind last_kind;
    unsigned literal_run;
    uint64_t history; /* the last eight bytes, the newest lowest */
    bool old_hit;     /* the last literal was what the old file has there */
    uint64_t last_distance;
    struct bin_aligns aligns;
    /* inside a copy with differences */
    uint64_t run_left; /* bytes that are known to be the same */
    uint32_t same;     /* how many in a row were */
    uint32_t past_flags, past_diffs, past_old;
    unsigned last_diff;
    struct mix_tables tables;
    struct mix_coder coder;
};

/* log2 of the sizes of the tables */
static const unsigned literal_bits[BYTE_INPUTS] = {17, 16, 18, 18, 17};
static const unsigned diff_bits[BYTE_INPUTS] = {16, 16, 16, 16, 17};
static const unsigned flag_bits[FLAG_INPUTS] = {12, 16, 16, 16};

/* ---- memory ---- */

static size_t model_memory(void)
{
    size_t sum = sizeof(struct bin_model);
    for (size_t i = 0; i < BYTE_INPUTS; i++)
        sum += (((size_t)1 << literal_bits[i]) + ((size_t)1 << diff_bits[i])) * sizeof(mix_bit);
    for (size_t i = 0; i < FLAG_INPUTS; i++)
        sum += ((size_t)1 << flag_bits[i]) * sizeof(mix_bit);
    return sum;
}

static bool byte_make(struct byte *b, const unsigned *bits)
{
    bool all = true;
    for (size_t i = 0; i < BYTE_INPUTS; i++) {
        b->bits[i] = bits[i];
        b->tables[i] = calloc((size_t)1 << bits[i], sizeof(mix_bit));
        all = all && b->tables[i] != NULL;
    }
    for (size_t i = 0; i < sizeof b->weights / sizeof b->weights[0]; i++)
        for (size_t k = 0; k < BYTE_INPUTS; k++)
            b->weights[i][k] = FIRST_WEIGHT;
    return all;
}

static void model_free(void *model)
{
    struct bin_model *m = model;
    for (size_t i = 0; m != NULL && i < BYTE_INPUTS; i++) {
        free(m->literal.tables[i]);
        free(m->diff.tables[i]);
    }
    for (size_t i = 0; m != NULL && i < FLAG_INPUTS; i++)
        free(m->flags[i]);
    free(m);
}

static struct bin_model *model_new(void)
{
    struct bin_model *m = calloc(1, sizeof *m);
    if (m == NULL)
        return NULL;
    bool all = byte_make(&m->literal, literal_bits);
    all = byte_make(&m->diff, diff_bits) && all;
    for (size_t i = 0; i < FLAG_INPUTS; i++) {
        m->flags[i] = calloc((size_t)1 << flag_bits[i], sizeof(mix_bit));
        all = all && m->flags[i] != NULL;
    }
    for (size_t i = 0; i < sizeof m->flag_weights / sizeof m->flag_weights[0]; i++)
        for (size_t k = 0; k < FLAG_INPUTS; k++)
            m->flag_weights[i][k] = FIRST_WEIGHT;
    mix_tables_make(&m->tables);
    bin_aligns_start(&m->aligns);
    if (all)
        return m;
    model_free(m);
    return NULL;
}

/* ---- numbers ---- */

static uint64_t number_code(struct bin_model *m, struct number *number, uint64_t value)
{
    struct mix_coder *c = &m->coder;
    unsigned length = value == 0 ? 0 : 64 - (unsigned)__builtin_clzll(value);
    unsigned node = 1;
    for (int i = 5; i >= 0; i--)
        node = node << 1 | mix_code_bit(c, length >> i & 1, &number->length[node], OP_LIMIT);
    length = node & 63;
    if (length < 2)
        return length;
    unsigned rest = length - 1;
    uint64_t out = 1;
    node = 1;
    for (int i = 0; i < 2 && rest > 0; i++) {
        unsigned bit = mix_code_bit(c, (unsigned)(value >> --rest) & 1, &number->high[length][node], OP_LIMIT);
        node = node << 1 | bit;
        out = out << 1 | bit;
    }
    unsigned low = rest < 3 ? rest : 3;
    out = out << (rest - low) | mix_code_raw(c, value >> low & (((uint64_t)1 << (rest - low)) - 1), rest - low);
    node = 1;
    while (low > 0) {
        unsigned bit = mix_code_bit(c, (unsigned)(value >> --low) & 1, &number->low[node], OP_LIMIT);
        node = node << 1 | bit;
        out = out << 1 | bit;
    }
    return out;
}

/* ---- ops ---- */

/* The alignment of a copy: one of the last ones, or a step from the last one. */
static int64_t align_code(struct bin_model *m, int64_t align)
{
    const size_t wanted = bin_aligns_find(&m->aligns, align);
    size_t which = 0;
    while (which < BIN_ALIGNS && !mix_code_bit(&m->coder, which == wanted, &m->align_again[which], OP_LIMIT))
        which++;
    if (which < BIN_ALIGNS) {
        align = m->aligns.last[which];
    } else {
        uint64_t step = (uint64_t)align - (uint64_t)m->aligns.last[0];
        unsigned negative = mix_code_bit(&m->coder, (int64_t)step < 0, &m->align_sign, OP_LIMIT);
        step = number_code(m, &m->align_step, negative ? ~step : step);
        align = (int64_t)((uint64_t)m->aligns.last[0] + (negative ? ~step : step));
    }
    bin_aligns_front(&m->aligns, align, which);
    return align;
}

static void self_code(struct bin_model *m, struct bin_op *op)
{
    op->len = 1 + number_code(m, &m->self_len, op->len - 1);
    bool again = mix_code_bit(&m->coder, (uint64_t)op->from == m->last_distance,
                              &m->self_again[m->last_kind == BIN_SELF], OP_LIMIT);
    if (again) {
        op->from = (int64_t)m->last_distance;
        return;
    }
    size_t class = op->len < 5 ? 0 : op->len < 7 ? 1 : op->len < 12 ? 2 : 3;
    op->from = (int64_t)(number_code(m, &m->self_distance[class], (uint64_t)op->from - 1) + 1);
    m->last_distance = (uint64_t)op->from;
}

static void model_op(void *model, int64_t position, struct bin_op *op)
{
    struct bin_model *m = model;
    struct mix_coder *c = &m->coder;
    unsigned run = m->literal_run < 7 ? m->literal_run : 7;
    unsigned node = 1;
    if (mix_code_bit(c, op->kind == BIN_LITERALS, &m->is_literal[m->last_kind][run], OP_LIMIT)) {
        op->kind = BIN_LITERALS;
        op->len = 1;
        m->literal_run++;
        if (m->literal_run > 3)
            m->last_kind = BIN_LITERALS; /* what was before them is forgotten */
        return;
    }
    node = node << 1 | mix_code_bit(c, (op->kind - 1) >> 1 & 1, &m->kind[m->last_kind][node], OP_LIMIT);
    node = node << 1 | mix_code_bit(c, (op->kind - 1) & 1, &m->kind[m->last_kind][node], OP_LIMIT);
    op->kind = (enum bin_kind)((node & 3) + 1);
    if (op->kind == BIN_SELF) {
        self_code(m, op);
    } else if (op->kind == BIN_STORED) {
        op->len = 1 + number_code(m, &m->stored_len, op->len - 1);
    } else {
        int64_t align = align_code(m, (int64_t)((uint64_t)op->from - (uint64_t)position));
        op->from = (int64_t)((uint64_t)align + (uint64_t)position);
        op->len = 1 + number_code(m, op->kind == BIN_OLD ? &m->old_len : &m->approx_len, op->len - 1);
    }
    m->last_kind = op->kind;
    m->literal_run = 0;
}

/* ---- bytes ---- */

static inline uint32_t hash_of(uint64_t value, unsigned salt)
{
    return (uint32_t)(((value + 1) * 0x9e3779b97f4a7c15u + salt) >> 29);
}

/* Where the 15 nodes of half a byte are, in the k-th table. */
static inline mix_bit *hashed_slots(const struct byte *b, size_t k, uint32_t context, unsigned node)
{
    uint32_t h = (context + node * 0x2f0b4c47u) * 0x9e3779b1u;
    return b->tables[k] + ((size_t)(h >> (32 - b->bits[k])) & ~(size_t)15);
}

/* Which of them, at the i-th bit of the byte. */
static inline unsigned small_node(unsigned node, unsigned i)
{
    return i < 4 ? node : (node & ((1u << (i - 4)) - 1)) | 1u << (i - 4);
}

/* select: which weights, below 4. */
[[gnu::always_inline]] static inline uint8_t byte_code(struct mix_coder *c, struct byte *b, uint8_t byte,
                                                       const uint32_t *contexts, unsigned select)
{
    mix_bit *base[BYTE_INPUTS] = {NULL};
    mix_bit *slots[BYTE_INPUTS];
    unsigned node = 1;
    for (unsigned i = 0; i < 8; i++) {
        if (i % 4 == 0)
            for (size_t k = 2; k < BYTE_INPUTS; k++)
                base[k] = hashed_slots(b, k, contexts[k], node);
        unsigned small = small_node(node, i);
        for (size_t k = 0; k < BYTE_INPUTS; k++)
            slots[k] = k < 2 ? b->tables[k] + (contexts[k] << 8 | node) : base[k] + small;
        node = node << 1 | mix_code_mixed(c, byte >> (7 - i) & 1, slots, BYTE_INPUTS, b->weights[select * 8 + i],
                                          BYTE_LIMIT, LITERAL_RATE);
    }
    return (uint8_t)node;
}

static uint8_t literal_code(struct bin_model *m, uint8_t byte, uint8_t old)
{
    uint64_t h = m->history;
    const uint32_t contexts[BYTE_INPUTS] = {old | (uint32_t)m->old_hit << 8, (uint32_t)(h & 0xff),
                                            hash_of(h & 0xffff, 2), hash_of(h & 0xffffff, 3),
                                            hash_of(h & 0xffffffff, 4)};
    byte = byte_code(&m->coder, &m->literal, byte, contexts, m->old_hit);
    m->history = h << 8 | byte;
    m->old_hit = byte == old;
    return byte;
}

static int64_t model_old_of_literal(const void *model, int64_t position)
{
    return position + ((const struct bin_model *)model)->aligns.last[0];
}

static void model_literals(void *model, const uint8_t *new, uint8_t *ret_new, size_t len, uint8_t old)
{
    (void)len; /* one */
    const uint8_t byte = literal_code(model, new == NULL ? 0 : *new, old);
    if (ret_new != NULL)
        *ret_new = byte;
}

/* What a literal would have taught, all but the weights and the old byte's part. */
static void literal_learn(struct bin_model *m, uint8_t byte)
{
    uint64_t h = m->history;
    const uint32_t contexts[BYTE_INPUTS] = {0, (uint32_t)(h & 0xff), hash_of(h & 0xffff, 2), hash_of(h & 0xffffff, 3),
                                            hash_of(h & 0xffffffff, 4)};
    for (size_t k = 1; k < BYTE_INPUTS; k++) {
        mix_bit *base = NULL;
        unsigned node = 1;
        for (unsigned i = 0; i < 8; i++) {
            if (k > 1 && i % 4 == 0)
                base = hashed_slots(&m->literal, k, contexts[k], node);
            mix_bit *slot = k == 1 ? m->literal.tables[1] + (contexts[1] << 8 | node) : base + small_node(node, i);
            unsigned bit = byte >> (7 - i) & 1;
            mix_bit_learn(&m->coder, slot, bit, BYTE_LIMIT);
            node = node << 1 | bit;
        }
    }
    m->history = h << 8 | byte;
}

static void model_copied(void *model, const uint8_t *bytes, size_t len, const struct bin_op *op)
{
    struct bin_model *m = model;
    if (op->len <= LEARN_MAX && op->kind != BIN_STORED && op->kind != BIN_APPROX) {
        for (size_t i = 0; i < len; i++)
            literal_learn(m, bytes[i]);
        return;
    }
    for (size_t i = len < 8 ? 0 : len - 8; i < len; i++)
        m->history = m->history << 8 | bytes[i];
}

/* ---- copies with differences ---- */

static void model_approx_start(void *model)
{
    struct bin_model *m = model;
    m->run_left = 0;
    m->same = RUN_AFTER; /* a run may come first */
    m->past_flags = m->past_diffs = 0;
    m->last_diff = 0;
}

/* How many of the next bytes are the same: told only when they are many. new: NULL when decoding. */
static void run_code(struct bin_model *m, const uint8_t *old, const uint8_t *new, size_t len, uint64_t left)
{
    uint64_t run = 0;
    while (new != NULL && run < len &&old[run] == new[run])
        run++;
    if (mix_code_bit(&m->coder, run >= RUN_MIN, &m->run[m->same > RUN_AFTER], OP_LIMIT)) {
        run = RUN_MIN + number_code(m, &m->run_len, run - RUN_MIN);
        if (run > left && m->coder.error == ERR_OK)
            m->coder.error = ERR_CORRUPT;
        m->run_left = run > left ? left : run;
        m->past_flags = 0;
    }
}

[[gnu::always_inline]] static inline bool differs_code(struct bin_model *m, bool differs, uint8_t old)
{
    uint32_t flags = m->past_flags;
    uint32_t past = m->past_old;
    mix_bit *const slots[FLAG_INPUTS] = {
        &m->flags[0][flags & 0xfff], &m->flags[1][(flags & 0xff) << 8 | old],
        &m->flags[2][hash_of((past & 0xff) << 10 | (uint32_t)old << 2 | (flags & 3), 1) & 0xffff],
        &m->flags[3][hash_of((uint64_t)(past & 0xffffff) << 16 | (uint32_t)old << 8 | (flags & 15), 2) & 0xffff]};
    unsigned select = (flags & 0xf) | (m->same < 4 ? 0u : m->same < 12 ? 16u : 32u);
    return mix_code_mixed(&m->coder, differs, slots, FLAG_INPUTS, m->flag_weights[select], FLAG_LIMIT, OP_RATE);
}

static uint8_t difference_code(struct bin_model *m, uint8_t diff, uint8_t old)
{
    uint32_t before = m->past_flags & 1 ? m->past_diffs & 0xff : 0;
    const uint32_t contexts[BYTE_INPUTS] = {before, old, hash_of((uint64_t)m->past_diffs & 0xffff, m->past_flags & 7),
                                            hash_of(before << 16 | (m->past_old & 0xff) << 8 | old, 5),
                                            hash_of(m->past_diffs & 0xffffff, 6)};
    unsigned select = m->past_flags & 3;
    return byte_code(&m->coder, &m->diff, diff, contexts, select);
}

/* One byte that is not inside a run. */
static uint8_t approx_byte(struct bin_model *m, uint8_t new, uint8_t old)
{
    bool differs = differs_code(m, new != old, old);
    if (differs) {
        uint8_t diff = difference_code(m, (uint8_t)(new - old), old);
        new = (uint8_t)(old + diff);
        m->past_diffs = m->past_diffs << 8 | diff;
        m->same = 0;
    } else {
        new = old;
        m->same++;
    }
    m->past_flags = m->past_flags << 1 | differs;
    return new;
}

static void model_approx(void *model, const uint8_t *old, const uint8_t *new, uint8_t *ret_new, size_t len,
                         uint64_t left)
{
    struct bin_model *m = model;
    for (size_t i = 0; i < len;) {
        if (m->run_left == 0 && m->same >= RUN_AFTER && m->same % RUN_AFTER == 0) {
            run_code(m, old + i, new == NULL ? NULL : new + i, len - i, left - i);
            m->same++;
        }
        if (m->run_left > 0) {
            size_t n = m->run_left < len - i ? (size_t)m->run_left : len - i;
            if (ret_new != NULL)
                memcpy(ret_new + i, old + i, n);
            i += n;
            m->run_left -= n;
            for (size_t k = n < 4 ? n : 4; k > 0; k--)
                m->past_old = m->past_old << 8 | old[i - k];
            continue;
        }
        uint8_t byte = approx_byte(m, new == NULL ? 0 : new[i], old[i]);
        if (ret_new != NULL)
            ret_new[i] = byte;
        m->past_old = m->past_old << 8 | old[i++];
    }
}

/* ---- all ---- */

static void *model_encoder_new(struct coded_pipe pipe)
{
    struct bin_model *m = model_new();
    if (m != NULL)
        mix_encode_start(&m->coder, &m->tables, pipe);
    return m;
}

static void *model_decoder_new(struct coded_pipe pipe, uint64_t len)
{
    struct bin_model *m = model_new();
    if (m != NULL)
        mix_decode_start(&m->coder, &m->tables, pipe, len);
    return m;
}

static enum err model_error(const void *model)
{
    return ((const struct bin_model *)model)->coder.error;
}

static enum err model_end(void *model, uint64_t *ret_written)
{
    struct bin_model *m = model;
    if (!m->coder.encoding)
        return mix_decode_end(&m->coder);
    const enum err e = mix_encode_end(&m->coder);
    *ret_written = m->coder.written;
    return e;
}

static void model_stored_start(void *model)
{
    mix_plain_start(&((struct bin_model *)model)->coder);
}

static void model_stored_write(void *model, const uint8_t *bytes, size_t len)
{
    mix_plain_write(&((struct bin_model *)model)->coder, bytes, len);
}

static void model_stored_read(void *model, uint8_t *ret_bytes, size_t len)
{
    mix_plain_read(&((struct bin_model *)model)->coder, ret_bytes, len);
}

static void model_stored_end(void *model)
{
    mix_plain_end(&((struct bin_model *)model)->coder);
}

const struct bin_coding bin_model_coding = {.memory = model_memory,
                                            .encoder_new = model_encoder_new,
                                            .decoder_new = model_decoder_new,
                                            .free = model_free,
                                            .error = model_error,
                                            .end = model_end,
                                            .op = model_op,
                                            .single_literals = true,
                                            .old_of_literal = model_old_of_literal,
                                            .literals = model_literals,
                                            .approx_start = model_approx_start,
                                            .approx = model_approx,
                                            .stored_start = model_stored_start,
                                            .stored_write = model_stored_write,
                                            .stored_read = model_stored_read,
                                            .stored_end = model_stored_end,
                                            .copied = model_copied};
