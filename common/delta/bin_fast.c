#include "common/delta/bin_fast.h"

#include "common/delta/bin_index.h"
#include "common/delta/bin_moves.h"
#include "common/delta/symbol_coder.h"

#include <stdlib.h>
#include <string.h>

/* How fast tables learn: a share of 1 / 2^n. Differences of one place are like those just before. */
enum { SLOW = 6, QUICK = 5, QUICKEST = 4 };

/* Where an op begins: its kind, and of copies of the old file their alignment. */
enum {
    OP_LITERALS,
    OP_SELF_AGAIN, /* the last distance */
    OP_SELF,
    OP_OLD,                              /* and one of the aligns, or a step forward or back from the last one */
    OP_APPROX = OP_OLD + BIN_ALIGNS + 2, /* the same */
    OP_STORED = OP_APPROX + BIN_ALIGNS + 2,
    OPS
};
_Static_assert((int)OPS <= (int)SYMBOLS, "one symbol tells them apart");

enum {
    DIRECT = 12,        /* numbers below that are one symbol */
    DISTANCES = 4,      /* tables for copies of the new file, by length */
    LENGTH_SYMBOLS = 4, /* of an offset: 60 bits are enough for any file */
    LENGTHS = LENGTH_SYMBOLS * (SYMBOLS - 1) + 1,
    GROUP_MAX = 4,      /* differing bytes in a row that are told apart: an operand */
    OLD_CLASSES = 5,    /* of old bytes under a difference */
    OLD_RANGES = 32,    /* the same, finer */
    ENDS = 3,           /* kinds of bytes that a carry goes through: zero, all ones, others */
    EQUAL_CLASSES = 12, /* of how many bytes were equal before a group */
    GROUP_CLASSES = 7,  /* of how long the last group was; 0: it was an operand */
    PLACES = DIRECT,    /* likely ones that a group may skip */
    LIKELY = 60,        /* of 255: there is a group at that place */
    GUESS_BITS = 14,
    SURE = 4 /* levels of how sure a guess is */
};

/* Numbers of any size, as a bit length, the bits behind the highest, raw ones and the four lowest. */
struct offset {
    struct symbols length[LENGTH_SYMBOLS], top[LENGTHS], low[4];
};

/* Numbers that are small most often; the first symbol is in a table of its own. */
struct number {
    struct symbols little, middle[2], large[2];
    struct offset rest;
};

/* A byte: the higher half, and the lower one behind each of it. */
struct byte {
    struct symbols high, low[SYMBOLS];
};

/* Inside a copy with differences: bytes that are equal, and groups of bytes that differ, in turn. */
struct differences {
    enum { NOTHING_TOLD, EQUAL_TOLD, GROUP_TOLD, OPERAND_TOLD } stage;
    int64_t at;                      /* in the old file */
    uint64_t equal, group;           /* bytes that are left of them; of equal ones, where no place tells */
    uint64_t passed;                 /* equal ones that are done */
    unsigned places, wanted;         /* likely ones that were passed, and before the group; PLACES: no place tells */
    uint16_t skipped[PLACES];        /* what was before them */
    uint16_t before;                 /* the last two old bytes */
    unsigned last_equal, last_group; /* how many they were; below their numbers of classes */
    unsigned place;                  /* in the group, below GROUP_MAX */
    uint16_t past;                   /* the last two differences */
    struct operand operand;          /* that the group begins */
};

/* What the next difference may be, by the two before it. */
struct guess {
    uint8_t difference, sure;
};

/* The tables, which all begin alike. */
struct tables {
    struct symbols op[BIN_KINDS][4];
    struct symbols literals[BIN_KINDS], self[2], old[BIN_ALIGNS + 1], approx[BIN_ALIGNS + 1], stored;
    struct number literals_len, self_len, old_len, approx_len, stored_len, equal_len;
    struct offset distance[DISTANCES], step;
    struct byte literal[256];
    struct symbols equal[EQUAL_CLASSES][GROUP_CLASSES];
    struct symbols group[GROUP_CLASSES][2][ENDS][MOVES_KNOWN];
    struct number group_len;
    struct byte by_place[GROUP_MAX][OLD_CLASSES], by_old[OLD_RANGES];
    struct symbols sure_high[SURE][SYMBOLS], sure_low[SURE][SYMBOLS];
};

struct bin_fast {
    struct symbol_coder coder;
    struct tables tables;
    /* what was before */
    enum bin_kind last_kind;
    unsigned last_class; /* how long it was */
    uint8_t last_byte;
    int64_t last_distance;
    struct bin_aligns aligns;
    int64_t from; /* of the last copy of the old file */
    struct differences differences;
    struct guess guesses[1 << GUESS_BITS];
    uint8_t begins[1 << 16]; /* how often a group begins behind two old bytes: LIKELY and more, often */
    struct moves moves;
};

/* ---- numbers ---- */

[[gnu::always_inline]] static inline uint64_t offset_code(struct symbol_state *s, const bool encoding, uint64_t value,
                                                          struct offset *offset)
{
    const unsigned bits = value == 0 ? 0 : 64 - (unsigned)__builtin_clzll(value);
    unsigned length = 0;
    for (size_t i = 0; i < LENGTH_SYMBOLS; i++) {
        const unsigned more = bits - length < SYMBOLS - 1 ? bits - length : SYMBOLS - 1;
        const unsigned symbol = symbol_code(s, encoding, more, &offset->length[i], SLOW);
        length += symbol;
        if (symbol < SYMBOLS - 1)
            break;
    }
    if (length < 2)
        return length;
    unsigned left = length - 1; /* bits behind the highest */
    unsigned count = left < 4 ? left : 4;
    left -= count;
    uint64_t out = (uint64_t)1 << count | symbol_code(s, encoding, (unsigned)(value >> left) & ((1u << count) - 1),
                                                      &offset->top[length], SLOW);
    const unsigned low = left < 4 ? left : 4;
    while (left > low) {
        count = left - low < SYMBOL_RAW_BITS ? left - low : SYMBOL_RAW_BITS;
        left -= count;
        out = out << count | symbol_raw(s, encoding, (unsigned)(value >> left) & ((1u << count) - 1), count);
    }
    if (low == 0)
        return out;
    return out << low | symbol_code(s, encoding, (unsigned)value & ((1u << low) - 1), &offset->low[low - 1], SLOW);
}

[[gnu::always_inline]] static inline uint64_t number_code(struct symbol_state *s, const bool encoding, uint64_t value,
                                                          struct symbols *first, struct number *number, int8_t slowest)
{
    enum { LITTLE = DIRECT + 16, MIDDLE = LITTLE + 256, LARGE = MIDDLE + 65536 };
    unsigned symbol = value < DIRECT   ? (unsigned)value
                      : value < LITTLE ? DIRECT
                      : value < MIDDLE ? DIRECT + 1
                      : value < LARGE  ? DIRECT + 2
                                       : DIRECT + 3;
    symbol = symbol_code(s, encoding, symbol, first, slowest);
    if (symbol < DIRECT)
        return symbol;
    if (symbol == DIRECT)
        return DIRECT + symbol_code(s, encoding, (unsigned)value - DIRECT, &number->little, SLOW);
    if (symbol == DIRECT + 3)
        return LARGE + offset_code(s, encoding, value - LARGE, &number->rest);
    const bool is_large = symbol == DIRECT + 2;
    const unsigned base = is_large ? MIDDLE : LITTLE;
    const unsigned part = ((unsigned)value - base) >> (is_large ? 8 : 0);
    struct symbols *tables = is_large ? number->large : number->middle;
    unsigned out = symbol_code(s, encoding, part >> 4 & 15, &tables[0], SLOW) << 4;
    out |= symbol_code(s, encoding, part & 15, &tables[1], SLOW);
    if (is_large)
        out = out << 8 | symbol_raw(s, encoding, ((unsigned)value - base) & 255, 8);
    return base + out;
}

/* ---- ops ---- */

/* The first symbol, and which of the aligns it is. */
static unsigned op_symbol(const struct bin_fast *m, int64_t position, const struct bin_op *op)
{
    switch (op->kind) {
    case BIN_LITERALS:
        return OP_LITERALS;
    case BIN_SELF:
        return op->from == m->last_distance ? OP_SELF_AGAIN : OP_SELF;
    case BIN_OLD:
    case BIN_APPROX: {
        const int64_t align = op->from - position;
        unsigned which = (unsigned)bin_aligns_find(&m->aligns, align);
        which += which == BIN_ALIGNS && align < m->aligns.last[0];
        return (op->kind == BIN_OLD ? OP_OLD : OP_APPROX) + which;
    }
    default:
        return OP_STORED;
    }
}

static enum bin_kind op_kind(unsigned symbol)
{
    return symbol == OP_LITERALS ? BIN_LITERALS
           : symbol <= OP_SELF   ? BIN_SELF
           : symbol < OP_APPROX  ? BIN_OLD
           : symbol < OP_STORED  ? BIN_APPROX
           : symbol == OP_STORED ? BIN_STORED
                                 : BIN_KINDS;
}

/* The tables for how long an op is. */
static void len_tables(struct bin_fast *m, unsigned symbol, struct symbols **ret_first, struct number **ret_number)
{
    struct tables *t = &m->tables;
    if (symbol == OP_LITERALS) {
        *ret_first = &t->literals[m->last_kind];
        *ret_number = &t->literals_len;
    } else if (symbol <= OP_SELF) {
        *ret_first = &t->self[symbol - OP_SELF_AGAIN];
        *ret_number = &t->self_len;
    } else if (symbol < OP_STORED) {
        const bool old = symbol < OP_APPROX;
        const unsigned which = symbol - (old ? OP_OLD : OP_APPROX);
        *ret_first = (old ? t->old : t->approx) + (which < BIN_ALIGNS ? which : BIN_ALIGNS);
        *ret_number = old ? &t->old_len : &t->approx_len;
    } else {
        *ret_first = &t->stored;
        *ret_number = &t->stored_len;
    }
}

static unsigned len_class(uint64_t len)
{
    return len < 5 ? 0 : len < 7 ? 1 : len < 12 ? 2 : 3;
}

/* Distance - 1 of a copy of the new file. */
[[gnu::always_inline]] static inline void self_code(struct bin_fast *m, struct symbol_state *s, const bool encoding,
                                                    unsigned symbol, struct bin_op *op)
{
    if (symbol == OP_SELF)
        m->last_distance =
            (int64_t)offset_code(s, encoding, (uint64_t)op->from - 1, &m->tables.distance[len_class(op->len)]) + 1;
    op->from = m->last_distance;
}

[[gnu::always_inline]] static inline void old_code(struct bin_fast *m, struct symbol_state *s, const bool encoding,
                                                   unsigned which, int64_t position, struct bin_op *op)
{
    uint64_t align = (uint64_t)m->aligns.last[which < BIN_ALIGNS ? which : 0];
    if (which >= BIN_ALIGNS) { /* all bits turned: a step back is a number from 0 on */
        const uint64_t turn = which == BIN_ALIGNS ? 0 : UINT64_MAX;
        align += offset_code(s, encoding, ((uint64_t)(op->from - position) - align) ^ turn, &m->tables.step) ^ turn;
    }
    bin_aligns_front(&m->aligns, (int64_t)align, which);
    op->from = m->from = (int64_t)(align + (uint64_t)position);
}

[[gnu::always_inline]] static inline void op_code(struct bin_fast *m, const bool encoding, int64_t position,
                                                  struct bin_op *op)
{
    struct symbol_state s = m->coder.state;
    struct symbols *first = NULL;
    struct number *number = NULL;
    symbol_coder_turn(&m->coder, &s, encoding);
    const unsigned symbol = symbol_code(&s, encoding, encoding ? op_symbol(m, position, op) : 0,
                                        &m->tables.op[m->last_kind][m->last_class], SLOW);
    op->kind = op_kind(symbol);
    len_tables(m, symbol, &first, &number);
    op->len = number_code(&s, encoding, op->len - 1, first, number, SLOW) + 1;
    if (op->kind == BIN_SELF)
        self_code(m, &s, encoding, symbol, op);
    if (op->kind == BIN_OLD || op->kind == BIN_APPROX)
        old_code(m, &s, encoding, symbol - (op->kind == BIN_OLD ? OP_OLD : OP_APPROX), position, op);
    m->last_kind = op->kind == BIN_KINDS ? BIN_LITERALS : op->kind;
    m->last_class = op->kind == BIN_LITERALS ? 0 : len_class(op->len);
    m->coder.state = s;
}

static void fast_op(void *model, int64_t position, struct bin_op *op)
{
    struct bin_fast *m = model;
    if (m->coder.encoding)
        op_code(m, true, position, op);
    else
        op_code(m, false, position, op);
}

/* ---- bytes ---- */

[[gnu::always_inline]] static inline uint8_t byte_code(struct symbol_state *s, const bool encoding, uint8_t byte,
                                                       struct byte *tables, int8_t slowest)
{
    const unsigned high = symbol_code(s, encoding, byte >> 4, &tables->high, slowest);
    return (uint8_t)(high << 4 | symbol_code(s, encoding, byte & 15, &tables->low[high], slowest));
}

[[gnu::always_inline]] static inline void literals_code(struct bin_fast *m, const bool encoding, const uint8_t *new,
                                                        uint8_t *ret_new, size_t len)
{
    struct symbol_state s = m->coder.state;
    uint8_t last = m->last_byte;
    for (size_t i = 0; i < len; i++) {
        symbol_coder_turn(&m->coder, &s, encoding);
        last = byte_code(&s, encoding, encoding ? new[i] : 0, &m->tables.literal[last], SLOW);
        if (!encoding)
            ret_new[i] = last;
    }
    m->last_byte = last;
    m->coder.state = s;
}

static void fast_literals(void *model, const uint8_t *new, uint8_t *ret_new, size_t len, uint8_t old)
{
    (void)old;
    if (new != NULL)
        literals_code(model, true, new, NULL, len);
    else
        literals_code(model, false, NULL, ret_new, len);
}

static void fast_copied(void *model, const uint8_t *bytes, size_t len, const struct bin_op *op)
{
    struct bin_fast *m = model;
    (void)op;
    m->last_byte = bytes[len - 1];
}

/* ---- copies with differences ---- */

static void fast_approx_start(void *model)
{
    struct bin_fast *m = model;
    m->differences = (struct differences){.at = m->from};
}

static unsigned end_of(uint8_t byte)
{
    return byte == 0 ? 0 : byte == 0xff ? 1 : 2;
}

static unsigned at_most(uint64_t value, unsigned max)
{
    return value < max ? (unsigned)value : max;
}

/* A number that is more than there can be is a fault of the stream. */
static uint64_t limited(struct bin_fast *m, uint64_t number, uint64_t max)
{
    if (number <= max)
        return number;
    if (m->coder.error == ERR_OK)
        m->coder.error = ERR_CORRUPT;
    return max;
}

/* How many likely places there are before the group, if it is at one; else the number of equal bytes behind PLACES. */
static uint64_t places_count(const struct bin_fast *m, const struct differences *d, const uint8_t *old, uint64_t equal,
                             uint64_t left)
{
    unsigned before = d->before;
    unsigned places = 0;
    for (size_t i = 0; i < equal; i++) {
        places += m->begins[before] >= LIKELY;
        if (places == PLACES)
            return PLACES + equal;
        before = (before << 8 | old[i]) & 0xffff;
    }
    return equal < left && m->begins[before] >= LIKELY ? places : PLACES + equal;
}

/* Where the next group begins: operands stand behind the same few bytes all over a program, so a group is told by how
 * many of such places it skips, or where it is at none by the number of equal bytes. old: the next bytes; left: bytes
 * to the end of the op. */
[[gnu::always_inline]] static inline void equal_code(struct bin_fast *m, struct symbol_state *s, const bool encoding,
                                                     struct differences *d, uint64_t equal, const uint8_t *old,
                                                     uint64_t left)
{
    struct symbols *first = &m->tables.equal[d->last_equal][d->last_group];
    const uint64_t told = number_code(s, encoding, encoding ? places_count(m, d, old, equal, left) : 0, first,
                                      &m->tables.equal_len, QUICK);
    d->wanted = at_most(told, PLACES);
    d->equal = told < PLACES ? 0 : limited(m, told - PLACES, left);
    d->places = 0;
    d->passed = 0;
    d->stage = EQUAL_TOLD;
}

/* Goes on to where the group begins, or over all `len` bytes, and returns how many are equal. */
[[gnu::always_inline]] static inline size_t equal_pass(const struct bin_fast *m, struct differences *d,
                                                       const uint8_t *old, size_t len)
{
    unsigned before = d->before;
    size_t n = 0;
    if (d->wanted < PLACES) {
        for (; n < len; n++) {
            if (m->begins[before] >= LIKELY) {
                if (d->places == d->wanted)
                    break;
                d->skipped[d->places++] = (uint16_t)before;
            }
            before = (before << 8 | old[n]) & 0xffff;
        }
    } else {
        n = d->equal < len ? (size_t)d->equal : len;
        d->equal -= n;
        for (size_t i = n < 2 ? 0 : n - 2; i < n; i++)
            before = (before << 8 | old[i]) & 0xffff;
    }
    d->before = (uint16_t)before;
    d->passed += n;
    d->at += (int64_t)n;
    return n;
}

/* A group begins here, and at none of the places that were skipped. */
[[gnu::always_inline]] static inline void places_learn(struct bin_fast *m, struct differences *d)
{
    for (unsigned i = 0; i < d->places; i++)
        m->begins[d->skipped[i]] -= m->begins[d->skipped[i]] >> 3;
    m->begins[d->before] += (uint8_t)(UINT8_MAX - m->begins[d->before]) >> 2;
    d->last_equal = at_most(d->passed, EQUAL_CLASSES - 1);
}

static size_t differing(const uint8_t *old, const uint8_t *new, uint64_t len)
{
    size_t n = 0;
    while (n < len && old[n] != new[n])
        n++;
    return n;
}

/* What a group is: an operand that is told by moves, or a number of bytes that differ. old: the bytes that come next,
 * BIN_AHEAD of them at least, or `left`; new: the same, when encoding. */
[[gnu::always_inline]] static inline void group_code(struct bin_fast *m, struct symbol_state *s, const bool encoding,
                                                     struct differences *d, const uint8_t *old, const uint8_t *new,
                                                     uint64_t left)
{
    uint32_t told[MOVES_WAYS] = {0};
    enum moves_known known = MOVES_NEW;
    d->operand = (struct operand){0};
    if (left >= OPERAND_BYTES)
        known = moves_tell(&m->moves, old, d->at, (uint32_t)-m->aligns.last[0], &d->operand, told);
    uint64_t group = 0;
    if (encoding) {
        group = MOVES_WAYS + differing(old, new, left) - 1;
        for (unsigned way = MOVES_WAYS; left >= OPERAND_BYTES && way-- > 0;)
            group = operand_get(new) == told[way] ? way : group;
    }
    const unsigned end = left > 1 ? end_of(old[1]) : 0;
    struct symbols *first = &m->tables.group[d->last_group][d->wanted < PLACES][end][known];
    group = number_code(s, encoding, group, first, &m->tables.group_len, QUICK);
    if (group < MOVES_WAYS) {
        d->operand.new = told[group];
        d->group = limited(m, OPERAND_BYTES, left);
        d->last_group = 0;
        d->stage = OPERAND_TOLD;
    } else {
        d->group = limited(m, group - MOVES_WAYS + 1, left);
        d->last_group = at_most(d->group, GROUP_CLASSES - 1);
        d->stage = GROUP_TOLD;
    }
    d->place = 0;
}

/* One difference. A guess that came true before is what the tables are told; else place and old byte tell. */
[[gnu::always_inline]] static inline uint8_t difference_code(struct bin_fast *m, struct symbol_state *s,
                                                             const bool encoding, const struct differences *d,
                                                             uint8_t difference, uint8_t old)
{
    struct tables *t = &m->tables;
    const uint32_t hash = ((uint32_t)d->past << 2 | d->place) * 0x9e3779b1u;
    struct guess *guess = &m->guesses[hash >> (32 - GUESS_BITS)];
    const unsigned class = old == 0 ? 0 : old < 16 ? 1 : old < 0xf0 ? 2 : old < 0xff ? 3 : 4;
    struct byte *place = &t->by_place[d->place][class];
    unsigned high = difference >> 4;
    unsigned low = difference & 15;
    if (guess->sure == 0) {
        struct byte *beside = &t->by_old[old * OLD_RANGES >> 8];
        high = symbol_code_mixed(s, encoding, high, &place->high, &beside->high, QUICKEST);
        low = symbol_code_mixed(s, encoding, low, &place->low[high], &beside->low[high], QUICKEST);
    } else {
        const unsigned guessed = guess->difference >> 4;
        high = symbol_code(s, encoding, high, &t->sure_high[guess->sure][guessed], QUICKEST);
        struct symbols *table = high == guessed ? &t->sure_low[guess->sure][guess->difference & 15] : &place->low[high];
        low = symbol_code(s, encoding, low, table, QUICKEST);
    }
    difference = (uint8_t)(high << 4 | low);
    if (guess->difference == difference)
        guess->sure = (uint8_t)(guess->sure + (guess->sure < SURE - 1));
    else if (guess->sure > 1)
        guess->sure--;
    else
        *guess = (struct guess){.difference = difference};
    return difference;
}

/* That difference is done, and with the last one the group. */
[[gnu::always_inline]] static inline void difference_passed(struct bin_fast *m, struct differences *d, uint8_t old,
                                                            uint8_t difference)
{
    d->at++;
    d->before = (uint16_t)(d->before << 8 | old);
    d->past = (uint16_t)(d->past << 8 | difference);
    d->place += d->place < GROUP_MAX - 1;
    if (--d->group > 0)
        return;
    if (d->operand.is_inside)
        moves_learn(&m->moves, &d->operand);
    d->stage = NOTHING_TOLD;
}

/* Most stretches are short: sixteen bytes at once then, where there is room behind them. */
static void equal_copy(uint8_t *to, const uint8_t *from, size_t len, size_t room)
{
    if (len <= 16 && room >= 16)
        memcpy(to, from, 16);
    else
        memcpy(to, from, len);
}

[[gnu::always_inline]] static inline void approx_code(struct bin_fast *m, const bool encoding, const uint8_t *old,
                                                      const uint8_t *new, uint8_t *ret_new, size_t len, uint64_t left)
{
    struct symbol_state s = m->coder.state;
    struct differences d = m->differences;
    for (size_t i = 0; i < len;) {
        if (d.stage == NOTHING_TOLD || d.stage == GROUP_TOLD) /* there is something to be told for sure */
            symbol_coder_turn(&m->coder, &s, encoding);
        if (d.stage == NOTHING_TOLD)
            equal_code(m, &s, encoding, &d, encoding ? bin_common(old + i, new + i, len - i) : 0, old + i, left - i);
        if (d.stage == EQUAL_TOLD) {
            const size_t n = equal_pass(m, &d, old + i, len - i);
            if (!encoding)
                equal_copy(ret_new + i, old + i, n, len - i);
            i += n;
            if (i == len)
                break;
            places_learn(m, &d);
            group_code(m, &s, encoding, &d, old + i, encoding ? new + i : NULL, left - i);
        }
        uint8_t difference;
        if (d.stage == OPERAND_TOLD) {
            difference = (uint8_t)((d.operand.new >> d.operand.bits) - old[i]);
            d.operand.bits += 8;
        } else {
            difference = difference_code(m, &s, encoding, &d, encoding ? (uint8_t)(new[i] - old[i]) : 0, old[i]);
            operand_add(&d.operand, old[i], difference);
        }
        if (!encoding)
            ret_new[i] = (uint8_t)(old[i] + difference);
        difference_passed(m, &d, old[i++], difference);
    }
    m->differences = d;
    m->coder.state = s;
}

static void fast_approx(void *model, const uint8_t *old, const uint8_t *new, uint8_t *ret_new, size_t len,
                        uint64_t left)
{
    if (new != NULL)
        approx_code(model, true, old, new, NULL, len, left);
    else
        approx_code(model, false, old, NULL, ret_new, len, left);
}

/* ---- all ---- */

static size_t fast_memory(void)
{
    return sizeof(struct bin_fast) + symbol_coder_memory();
}

static void fast_free(void *model)
{
    struct bin_fast *m = model;
    if (m != NULL)
        symbol_coder_free(&m->coder);
    free(m);
}

static struct bin_fast *fast_new(void)
{
    struct bin_fast *m = calloc(1, sizeof *m);
    if (m == NULL)
        return NULL;
    _Static_assert(sizeof m->tables % sizeof(struct symbols) == 0, "nothing but tables");
    symbols_start((symbols_lanes *)&m->tables, SYMBOLS, sizeof m->tables / sizeof(struct symbols));
    bin_aligns_start(&m->aligns);
    return m;
}

static void *fast_encoder_new(struct coded_pipe pipe)
{
    struct bin_fast *m = fast_new();
    if (m == NULL || symbol_encode_start(&m->coder, pipe) == ERR_OK)
        return m;
    fast_free(m);
    return NULL;
}

static void *fast_decoder_new(struct coded_pipe pipe, uint64_t len)
{
    struct bin_fast *m = fast_new();
    if (m == NULL || symbol_decode_start(&m->coder, pipe, len) == ERR_OK)
        return m;
    fast_free(m);
    return NULL;
}

static enum err fast_error(const void *model)
{
    return ((const struct bin_fast *)model)->coder.error;
}

static enum err fast_end(void *model, uint64_t *ret_written)
{
    struct bin_fast *m = model;
    if (!m->coder.encoding)
        return symbol_decode_end(&m->coder);
    const enum err e = symbol_encode_end(&m->coder);
    *ret_written = m->coder.written;
    return e;
}

static void fast_stored_start(void *model)
{
    symbol_plain_start(&((struct bin_fast *)model)->coder);
}

static void fast_stored_write(void *model, const uint8_t *bytes, size_t len)
{
    symbol_plain_write(&((struct bin_fast *)model)->coder, bytes, len);
}

static void fast_stored_read(void *model, uint8_t *ret_bytes, size_t len)
{
    symbol_plain_read(&((struct bin_fast *)model)->coder, ret_bytes, len);
}

static void fast_stored_end(void *model)
{
    (void)model; /* the next block begins by itself */
}

const struct bin_coding bin_fast_coding = {.memory = fast_memory,
                                           .encoder_new = fast_encoder_new,
                                           .decoder_new = fast_decoder_new,
                                           .free = fast_free,
                                           .error = fast_error,
                                           .end = fast_end,
                                           .op = fast_op,
                                           .literals = fast_literals,
                                           .approx_start = fast_approx_start,
                                           .approx = fast_approx,
                                           .stored_start = fast_stored_start,
                                           .stored_write = fast_stored_write,
                                           .stored_read = fast_stored_read,
                                           .stored_end = fast_stored_end,
                                           .copied = fast_copied};
