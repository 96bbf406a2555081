#include "common/delta/bin_parse.h"

#include <stdlib.h>
#include <string.h>

/* What lies between regions (bin_regions.h) is told by the cheapest way through literals, short copies of the old file
 * and copies of the new one: dynamic programming over estimated prices. */

enum {
    BLOCK = 64 * 1024, /* of the dynamic programming */
    TAKE_FAST = 32,
    TAKE_BEST = 192,
    SELF_DEPTH_FAST = 8,
    SELF_DEPTH_BEST = 200,
    OLD_MIN = 4,
    OLD_MIN_FAST = 8, /* for a search: shorter ones are hardly worth it */
    NOISE_COPY_MIN = 32,
    BIT = 16, /* prices are in 16ths of a bit */
    STORED_MIN = 2048,
    STORED_PIECE = 8192,
    NOISE_BITS = 233 /* (255 + 3 * sqrt(2 * 255)) / (2 * ln 2) */
};

/* One position of the dynamic programming: how it is reached best, and what copies on that way can be repeated. */
struct way {
    uint32_t price;
    uint32_t len;
    enum bin_kind kind;
    uint32_t distance; /* of the last copy of the new file; 0: none */
    int64_t align;     /* of the last copy of the old file */
    int64_t from;
};

/* The longest match in the old file, for the last byte that was asked for. */
struct found {
    size_t at, position, len;
};

struct parse {
    const struct bin_texts *t;
    struct way *ways;   /* BLOCK + 1 */
    uint32_t distance;  /* of the last copy of the block before */
    struct found found; /* at "fast" */
    uint32_t literal_price[256];
    size_t least; /* bytes that a copy has at least */
    size_t take;  /* a copy that long is taken without asking further */
};

/* ---- ops ---- */

void bin_ops_free(struct bin_ops *ops)
{
    free(ops->items);
    *ops = (struct bin_ops){0};
}

/* Both are one copy of the old file that goes on; an exact and an inexact one make an inexact one. */
static bool op_joins(const struct bin_op *last, const struct bin_op *op)
{
    bool copies =
        (last->kind == BIN_OLD || last->kind == BIN_APPROX) && (op->kind == BIN_OLD || op->kind == BIN_APPROX);
    if (copies)
        return last->from + (int64_t)last->len == op->from;
    return last->kind == op->kind && (op->kind == BIN_LITERALS || op->kind == BIN_STORED);
}

enum err bin_ops_add(struct bin_ops *ops, struct bin_op op)
{
    if (op.len == 0)
        return ERR_OK;
    struct bin_op *last = ops->count == 0 ? NULL : &ops->items[ops->count - 1];
    if (last != NULL && op_joins(last, &op)) {
        last->len += op.len;
        if (op.kind == BIN_APPROX)
            last->kind = BIN_APPROX;
        return ERR_OK;
    }
    if (ops->items == NULL || ops->count == ops->room) {
        size_t room = ops->room == 0 ? 64 : ops->room * 2;
        struct bin_op *items = realloc(ops->items, room * sizeof *items);
        if (items == NULL)
            return ERR_NO_MEMORY;
        ops->items = items;
        ops->room = room;
    }
    ops->items[ops->count++] = op;
    return ERR_OK;
}

/* ---- prices ---- */

/* 16 * log2(n), n >= 1; linear between powers of two. */
static uint32_t log_price(uint64_t n)
{
    unsigned bits = 63 - (unsigned)__builtin_clzll(n);
    uint64_t part = bits >= 4 ? (n >> (bits - 4)) & 15 : (n << (4 - bits)) & 15;
    return bits * BIT + (uint32_t)part;
}

static void literal_prices(struct parse *p, size_t start, size_t end)
{
    uint32_t counts[256];
    uint32_t total = 256;
    for (size_t i = 0; i < 256; i++)
        counts[i] = 1;
    for (size_t i = start; i < end; i++, total++)
        counts[p->t->new[i]]++;
    for (size_t i = 0; i < 256; i++) {
        uint32_t price = (log_price(total) - log_price(counts[i])) * 13 / 16;
        p->literal_price[i] = price < 2 * BIT ? 2 * BIT : price;
    }
}

static uint32_t len_price(size_t len)
{
    return 2 * BIT + log_price(len);
}

/* ---- the cheapest way ---- */

static void way_offer(struct parse *p, size_t i, size_t len, struct way way)
{
    struct way *to = &p->ways[i + len];
    if (way.price < to->price) {
        way.len = (uint32_t)len;
        *to = way;
    }
}

/* Offers a copy of all lengths up to len; a long one only as a whole. */
static void copy_offer(struct parse *p, size_t i, size_t min, size_t len, struct way way)
{
    uint32_t base = p->ways[i].price + way.price;
    min = min > p->least ? min : p->least;
    for (size_t n = len >= p->take ? len : min; n <= len; n++) {
        way.price = base + len_price(n);
        way_offer(p, i, n, way);
    }
}

/* An exact copy of the old file that moves on with an alignment that was just used. */
static size_t aligned_offer(struct parse *p, size_t i, size_t at, size_t max, int64_t align, uint32_t price)
{
    const struct bin_texts *t = p->t;
    int64_t same = (int64_t)at + align;
    if (same < 0 || (size_t)same >= t->old_size || t->old[same] != t->new[at])
        return 0;
    size_t left = t->old_size - (size_t)same;
    size_t n = bin_common(t->old + same, t->new + at, left < max ? left : max);
    struct way way = {.price = price, .kind = BIN_OLD, .from = same, .align = align, .distance = p->ways[i].distance};
    copy_offer(p, i, 2, n, way);
    return n;
}

/* The longest match in the old file. At "fast" one that was found at the byte before goes on without a search. */
static size_t old_longest(struct parse *p, size_t at, size_t max, int64_t hint, size_t *ret_position)
{
    const struct bin_texts *t = p->t;
    if (t->effort != DELTA_FAST)
        return bin_index_nearest(t->index, t->new + at, max, p->least, hint, ret_position);
    struct found *f = &p->found;
    if (f->at + 1 == at && f->len > OLD_MIN_FAST) {
        f->len--;
        f->position++;
    } else {
        const size_t least = p->least > OLD_MIN_FAST ? p->least : OLD_MIN_FAST;
        f->len = bin_index_nearest(t->index, t->new + at, max, least, hint, &f->position);
    }
    f->at = at;
    *ret_position = f->position;
    return f->len;
}

static size_t old_offer(struct parse *p, size_t i, size_t at, size_t max, int64_t region_align)
{
    const struct way *here = &p->ways[i];
    size_t position = 0;
    size_t most = aligned_offer(p, i, at, max, here->align, 4 * BIT);
    if (region_align != here->align) {
        size_t n = aligned_offer(p, i, at, max, region_align, 6 * BIT);
        most = n > most ? n : most;
    }
    size_t n = old_longest(p, at, max, (int64_t)at + here->align, &position);
    if (n < OLD_MIN || n <= most)
        return most;
    int64_t align = (int64_t)position - (int64_t)at;
    int64_t step = align - here->align;
    uint32_t price = 5 * BIT + log_price((uint64_t)(step < 0 ? -step : step) + 1);
    copy_offer(
        p, i, OLD_MIN, n,
        (struct way){
            .price = price, .kind = BIN_OLD, .from = (int64_t)position, .align = align, .distance = here->distance});
    return n;
}

/* The last distance once more. */
static size_t again_offer(struct parse *p, size_t i, size_t at, size_t max)
{
    const struct bin_texts *t = p->t;
    struct way way = p->ways[i];
    if (way.distance == 0 || t->new[at] != t->new[at - way.distance])
        return 0;
    size_t n = bin_common(t->new + at - way.distance, t->new + at, max);
    way.price = 5 * BIT;
    way.kind = BIN_SELF;
    way.from = way.distance;
    copy_offer(p, i, 2, n, way);
    return n;
}

static size_t self_offer(struct parse *p, size_t i, size_t at, size_t max)
{
    const struct bin_texts *t = p->t;
    int depth = t->effort == DELTA_FAST ? SELF_DEPTH_FAST : SELF_DEPTH_BEST;
    size_t most = again_offer(p, i, at, max);
    most = most < BIN_CHAINS_MIN ? BIN_CHAINS_MIN - 1 : most;
    for (size_t place = bin_chains_before(t->chains, at); place != SIZE_MAX && depth > 0 && most < max;
         place = bin_chains_before(t->chains, place), depth--) {
        if (t->new[place + most] != t->new[at + most])
            continue;
        size_t n = bin_common(t->new + place, t->new + at, max);
        if (n <= most)
            continue;
        uint32_t price = 4 * BIT + log_price(at - place);
        copy_offer(p, i, BIN_CHAINS_MIN, n,
                   (struct way){.price = price,
                                .kind = BIN_SELF,
                                .from = (int64_t)(at - place),
                                .align = p->ways[i].align,
                                .distance = (uint32_t)(at - place)});
        most = n;
        if (most >= p->take)
            break;
    }
    return most;
}

static void ways_fill(struct parse *p, size_t start, size_t len, int64_t align)
{
    for (size_t i = 0; i <= len; i++)
        p->ways[i].price = UINT32_MAX;
    p->ways[0] = (struct way){.align = align, .distance = p->distance};
    for (size_t i = 0, skip = 0; i < len; i++) {
        if (p->ways[i].price == UINT32_MAX)
            continue;
        uint8_t byte = p->t->new[start + i];
        struct way literal = p->ways[i];
        literal.price += p->literal_price[byte];
        literal.kind = BIN_LITERALS;
        way_offer(p, i, 1, literal);
        if (i < skip)
            continue;
        size_t old = old_offer(p, i, start + i, len - i, align);
        size_t self = old >= p->take ? 0 : self_offer(p, i, start + i, len - i);
        size_t longest = old > self ? old : self;
        if (longest >= p->take)
            skip = i + longest;
    }
}

/* Follows the cheapest way back, and adds its ops in order. */
static enum err ways_add(struct parse *p, size_t len, struct bin_ops *ops)
{
    p->distance = p->ways[len].distance;
    size_t next = SIZE_MAX; /* links forward, in the place of prices */
    for (size_t i = len; i > 0;) {
        size_t before = i - p->ways[i].len;
        p->ways[i].price = (uint32_t)next;
        next = i;
        i = before;
    }
    enum err e = ERR_OK;
    for (size_t i = next; e == ERR_OK && i <= len && len > 0; i = p->ways[i].price) {
        const struct way *w = &p->ways[i];
        struct bin_op op = {.kind = w->kind, .len = w->len, .from = w->from};
        e = bin_ops_add(ops, op);
    }
    return e;
}

/* 65536 * log2(n), n >= 1: the fraction bit by bit, by squaring. */
static uint64_t log_exact(uint32_t n)
{
    unsigned bits = 31 - (unsigned)__builtin_clz(n);
    uint64_t x = (uint64_t)n << (31 - bits); /* in [1, 2), of 31 bits */
    uint64_t out = bits;
    for (int i = 0; i < 16; i++) {
        x = x * x >> 31;
        out = out << 1 | (x >> 32 & 1);
        x >>= x >> 32 & 1;
    }
    return out;
}

/* Bytes that nothing predicts are only stored: those whose entropy is what random bytes would have in so small a
 * sample, three standard deviations less. */
static bool is_noise(const uint8_t *bytes, size_t len)
{
    uint32_t counts[256] = {0};
    uint64_t sum = 0;
    for (size_t i = 0; i < len; i++)
        counts[bytes[i]]++;
    for (size_t i = 0; i < 256; i++)
        if (counts[i] > 0)
            sum += (uint64_t)counts[i] * (log_exact((uint32_t)len) - log_exact(counts[i]));
    return (sum >> 16) + NOISE_BITS >= 8 * (uint64_t)len;
}

/* What lies between regions. align: of the region before. */
static enum err gap_add(struct parse *p, size_t start, size_t end, int64_t align, struct bin_ops *ops)
{
    enum err e = ERR_OK;
    if (start < end)
        literal_prices(p, start, end);
    while (e == ERR_OK && start < end) {
        size_t len = end - start < BLOCK ? end - start : BLOCK;
        /* bytes that can only be stored are stored cheapest in one piece */
        p->least = len >= STORED_MIN && is_noise(p->t->new + start, len) ? NOISE_COPY_MIN : 0;
        ways_fill(p, start, len, align);
        e = ways_add(p, len, ops);
        start += len;
    }
    return e;
}

/* ---- all ---- */

static enum err region_op(const struct parse *p, const struct bin_region *r, struct bin_ops *ops)
{
    int64_t from = (int64_t)r->start + r->align;
    size_t len = r->end - r->start;
    bool exact = memcmp(p->t->old + from, p->t->new + r->start, len) == 0;
    return bin_ops_add(ops, (struct bin_op){.kind = exact ? BIN_OLD : BIN_APPROX, .len = len, .from = from});
}

/* Runs of literals that are noise become stored ones. */
static enum err stored_find(const struct parse *p, size_t start, const struct bin_ops *in, struct bin_ops *ops)
{
    enum err e = ERR_OK;
    for (size_t i = 0; e == ERR_OK && i < in->count; i++) {
        struct bin_op op = in->items[i];
        while (e == ERR_OK && op.kind == BIN_LITERALS && op.len >= STORED_MIN) {
            size_t n = op.len < STORED_PIECE + STORED_MIN ? op.len : STORED_PIECE;
            bool noise = is_noise(p->t->new + start, n);
            e = bin_ops_add(ops, (struct bin_op){.kind = noise ? BIN_STORED : BIN_LITERALS, .len = n});
            start += n;
            op.len -= n;
        }
        if (e == ERR_OK)
            e = bin_ops_add(ops, op);
        start += op.len;
    }
    return e;
}

/* Regions as copies, and what is between them. */
static enum err all_add(struct parse *p, const struct bin_regions *regions, size_t start, size_t end,
                        struct bin_ops *ops)
{
    size_t at = start;
    int64_t align = 0;
    enum err e = ERR_OK;
    for (size_t i = 0; e == ERR_OK && i < regions->count; i++) {
        const struct bin_region *r = &regions->items[i];
        e = gap_add(p, at, r->start, align, ops);
        if (e == ERR_OK)
            e = region_op(p, r, ops);
        at = r->end;
        align = r->align;
    }
    return e == ERR_OK ? gap_add(p, at, end, align, ops) : e;
}

enum err bin_parse(const struct bin_texts *texts, size_t start, size_t end, struct bin_ops *ops)
{
    struct parse p = {.t = texts,
                      .ways = malloc((BLOCK + 1) * sizeof *p.ways),
                      .take = texts->effort == DELTA_FAST ? TAKE_FAST : TAKE_BEST};
    struct bin_regions regions = {0};
    struct bin_ops found = {0};
    enum err e = p.ways == NULL ? ERR_NO_MEMORY : bin_regions_find(texts, start, end, &regions);
    if (e == ERR_OK)
        e = all_add(&p, &regions, start, end, &found);
    if (e == ERR_OK)
        e = stored_find(&p, start, &found, ops);
    free(p.ways);
    bin_regions_free(&regions);
    bin_ops_free(&found);
    return e;
}
