#include "common/delta/bin_model.h"

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

/* log2 of the sizes of the tables; "fast" does without the last two. */
static const unsigned literal_bits[BIN_BYTE_INPUTS] = {17, 16, 18, 18, 17};
static const unsigned diff_bits[BIN_BYTE_INPUTS] = {16, 16, 16, 16, 17};
static const unsigned flag_bits[BIN_FLAG_INPUTS] = {12, 16, 16, 16};

static size_t inputs_of(enum delta_effort effort, size_t all)
{
    return effort == DELTA_FAST ? 3 : all;
}

/* ---- memory ---- */

size_t bin_model_memory(enum delta_effort effort)
{
    size_t sum = sizeof(struct bin_model);
    for (size_t i = 0; i < inputs_of(effort, BIN_BYTE_INPUTS); i++)
        sum += (((size_t)1 << literal_bits[i]) + ((size_t)1 << diff_bits[i])) * sizeof(mix_bit);
    for (size_t i = 0; i < inputs_of(effort, BIN_FLAG_INPUTS); i++)
        sum += ((size_t)1 << flag_bits[i]) * sizeof(mix_bit);
    return sum;
}

static bool byte_make(struct bin_byte *b, const unsigned *bits, size_t inputs)
{
    bool all = true;
    for (size_t i = 0; i < inputs; i++) {
        b->bits[i] = bits[i];
        b->tables[i] = calloc((size_t)1 << bits[i], sizeof(mix_bit));
        all = all && b->tables[i] != NULL;
    }
    for (size_t i = 0; i < sizeof b->weights / sizeof b->weights[0]; i++)
        for (size_t k = 0; k < BIN_BYTE_INPUTS; k++)
            b->weights[i][k] = FIRST_WEIGHT;
    return all;
}

struct bin_model *bin_model_new(enum delta_effort effort)
{
    struct bin_model *m = calloc(1, sizeof *m);
    if (m == NULL)
        return NULL;
    m->effort = effort;
    bool all = byte_make(&m->literal, literal_bits, inputs_of(effort, BIN_BYTE_INPUTS));
    all = byte_make(&m->diff, diff_bits, inputs_of(effort, BIN_BYTE_INPUTS)) && all;
    for (size_t i = 0; i < inputs_of(effort, BIN_FLAG_INPUTS); i++) {
        m->flags[i] = calloc((size_t)1 << flag_bits[i], sizeof(mix_bit));
        all = all && m->flags[i] != NULL;
    }
    for (size_t i = 0; i < sizeof m->flag_weights / sizeof m->flag_weights[0]; i++)
        for (size_t k = 0; k < BIN_FLAG_INPUTS; k++)
            m->flag_weights[i][k] = FIRST_WEIGHT;
    mix_tables_make(&m->tables);
    m->aligns[1] = 1;
    m->aligns[2] = 2;
    if (all)
        return m;
    bin_model_free(m);
    return NULL;
}

void bin_model_free(struct bin_model *m)
{
    for (size_t i = 0; m != NULL && i < BIN_BYTE_INPUTS; i++) {
        free(m->literal.tables[i]);
        free(m->diff.tables[i]);
    }
    for (size_t i = 0; m != NULL && i < BIN_FLAG_INPUTS; i++)
        free(m->flags[i]);
    free(m);
}

/* ---- numbers ---- */

static uint64_t number_code(struct bin_model *m, struct bin_number *number, uint64_t value)
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
    size_t which = 0;
    while (which < BIN_ALIGNS) {
        if (mix_code_bit(&m->coder, align == m->aligns[which], &m->align_again[which], OP_LIMIT))
            break;
        which++;
    }
    if (which < BIN_ALIGNS) {
        align = m->aligns[which];
    } else {
        uint64_t step = (uint64_t)align - (uint64_t)m->aligns[0];
        unsigned negative = mix_code_bit(&m->coder, (int64_t)step < 0, &m->align_sign, OP_LIMIT);
        step = number_code(m, &m->align_step, negative ? ~step : step);
        align = (int64_t)((uint64_t)m->aligns[0] + (negative ? ~step : step));
        which = BIN_ALIGNS - 1;
    }
    for (; which > 0; which--)
        m->aligns[which] = m->aligns[which - 1];
    m->aligns[0] = align;
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

void bin_op_code(struct bin_model *m, int64_t position, struct bin_op *op)
{
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
static inline mix_bit *hashed_slots(const struct bin_byte *b, size_t k, uint32_t context, unsigned node)
{
    uint32_t h = (context + node * 0x2f0b4c47u) * 0x9e3779b1u;
    return b->tables[k] + ((size_t)(h >> (32 - b->bits[k])) & ~(size_t)15);
}

/* Which of them, at the i-th bit of the byte. */
static inline unsigned small_node(unsigned node, unsigned i)
{
    return i < 4 ? node : (node & ((1u << (i - 4)) - 1)) | 1u << (i - 4);
}

/* Codes a byte with `inputs` contexts; select: which weights, below 4. */
[[gnu::always_inline]] static inline uint8_t byte_code(struct mix_coder *c, struct bin_byte *b, size_t inputs,
                                                       uint8_t byte, const uint32_t *contexts, unsigned select)
{
    mix_bit *base[BIN_BYTE_INPUTS] = {NULL};
    mix_bit *slots[BIN_BYTE_INPUTS];
    unsigned node = 1;
    for (unsigned i = 0; i < 8; i++) {
        if (i % 4 == 0)
            for (size_t k = 2; k < inputs; k++)
                base[k] = hashed_slots(b, k, contexts[k], node);
        unsigned small = small_node(node, i);
        for (size_t k = 0; k < inputs; k++)
            slots[k] = k < 2 ? b->tables[k] + (contexts[k] << 8 | node) : base[k] + small;
        node = node << 1 | mix_code_mixed(c, byte >> (7 - i) & 1, slots, inputs, b->weights[select * 8 + i], BYTE_LIMIT,
                                          LITERAL_RATE);
    }
    return (uint8_t)node;
}

uint8_t bin_literal_code(struct bin_model *m, uint8_t byte, uint8_t old)
{
    uint64_t h = m->history;
    const uint32_t contexts[BIN_BYTE_INPUTS] = {old | (uint32_t)m->old_hit << 8, (uint32_t)(h & 0xff),
                                                hash_of(h & 0xffff, 2), hash_of(h & 0xffffff, 3),
                                                hash_of(h & 0xffffffff, 4)};
    byte = m->effort == DELTA_FAST ? byte_code(&m->coder, &m->literal, 3, byte, contexts, m->old_hit)
                                   : byte_code(&m->coder, &m->literal, 5, byte, contexts, m->old_hit);
    m->history = h << 8 | byte;
    m->old_hit = byte == old;
    return byte;
}

/* What a literal would have taught, all but the weights and the old byte's part. */
static void literal_learn(struct bin_model *m, uint8_t byte)
{
    uint64_t h = m->history;
    size_t inputs = inputs_of(m->effort, BIN_BYTE_INPUTS);
    const uint32_t contexts[BIN_BYTE_INPUTS] = {0, (uint32_t)(h & 0xff), hash_of(h & 0xffff, 2),
                                                hash_of(h & 0xffffff, 3), hash_of(h & 0xffffffff, 4)};
    for (size_t k = 1; k < inputs; k++) {
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

void bin_copied(struct bin_model *m, const uint8_t *bytes, size_t len, const struct bin_op *op)
{
    if (op->len <= LEARN_MAX && op->kind != BIN_STORED && op->kind != BIN_APPROX) {
        for (size_t i = 0; i < len; i++)
            literal_learn(m, bytes[i]);
        return;
    }
    for (size_t i = len < 8 ? 0 : len - 8; i < len; i++)
        m->history = m->history << 8 | bytes[i];
}

/* ---- copies with differences ---- */

void bin_approx_start(struct bin_model *m)
{
    m->run_left = 0;
    m->same = BIN_RUN_AFTER; /* a run may come first */
    m->past_flags = m->past_diffs = 0;
    m->last_diff = 0;
}

/* How many of the next bytes are the same: told only when they are many. new: NULL when decoding. */
static void run_code(struct bin_model *m, const uint8_t *old, const uint8_t *new, size_t len, uint64_t left)
{
    uint64_t run = 0;
    while (new != NULL && run < len &&old[run] == new[run])
        run++;
    if (mix_code_bit(&m->coder, run >= RUN_MIN, &m->run[m->same > BIN_RUN_AFTER], OP_LIMIT)) {
        run = RUN_MIN + number_code(m, &m->run_len, run - RUN_MIN);
        if (run > left && m->coder.error == ERR_OK)
            m->coder.error = ERR_CORRUPT;
        m->run_left = run > left ? left : run;
        m->past_flags = 0;
    }
}

[[gnu::always_inline]] static inline bool differs_code(struct bin_model *m, bool differs, uint8_t old, size_t inputs)
{
    uint32_t flags = m->past_flags;
    uint32_t past = m->past_old;
    mix_bit *const slots[BIN_FLAG_INPUTS] = {
        &m->flags[0][flags & 0xfff], &m->flags[1][(flags & 0xff) << 8 | old],
        &m->flags[2][hash_of((past & 0xff) << 10 | (uint32_t)old << 2 | (flags & 3), 1) & 0xffff],
        inputs < 4
            ? NULL
            : &m->flags[3][hash_of((uint64_t)(past & 0xffffff) << 16 | (uint32_t)old << 8 | (flags & 15), 2) & 0xffff]};
    unsigned select = (flags & 0xf) | (m->same < 4 ? 0u : m->same < 12 ? 16u : 32u);
    return mix_code_mixed(&m->coder, differs, slots, inputs, m->flag_weights[select], FLAG_LIMIT, OP_RATE);
}

static uint8_t difference_code(struct bin_model *m, uint8_t diff, uint8_t old)
{
    uint32_t before = m->past_flags & 1 ? m->past_diffs & 0xff : 0;
    const uint32_t contexts[BIN_BYTE_INPUTS] = {
        before, old, hash_of((uint64_t)m->past_diffs & 0xffff, m->past_flags & 7),
        hash_of(before << 16 | (m->past_old & 0xff) << 8 | old, 5), hash_of(m->past_diffs & 0xffffff, 6)};
    unsigned select = m->past_flags & 3;
    return m->effort == DELTA_FAST ? byte_code(&m->coder, &m->diff, 3, diff, contexts, select)
                                   : byte_code(&m->coder, &m->diff, 5, diff, contexts, select);
}

/* One byte that is not inside a run. */
static uint8_t approx_byte(struct bin_model *m, uint8_t new, uint8_t old)
{
    bool differs = m->effort == DELTA_FAST ? differs_code(m, new != old, old, 3) : differs_code(m, new != old, old, 4);
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

void bin_approx_code(struct bin_model *m, const uint8_t *old, const uint8_t *new, uint8_t *ret_new, size_t len,
                     uint64_t left)
{
    for (size_t i = 0; i < len;) {
        if (m->run_left == 0 && m->same >= BIN_RUN_AFTER && m->same % BIN_RUN_AFTER == 0) {
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
