#include "common/delta/bin_parse.h"

#include "common/delta/bin_price.h"

#include <stdlib.h>
#include <string.h>

/* The cheapest way through literals, exact copies of both files, and copies with differences as regions offer them
 * (bin_regions.h): dynamic programming over estimated prices. */

enum {
    BLOCK = 64 * 1024, /* of the dynamic programming */
    TAKE_FAST = 32,
    TAKE_BEST = 192,
    SELF_DEPTH_FAST = 8,
    SELF_DEPTH_BEST = 32, /* of each kind of chains */
    OLD_MIN = 4,
    OLD_MIN_FAST = 8, /* for a search: shorter ones are hardly worth it */
    NOISE_COPY_MIN = 32,
    BIT = BIN_BIT,
    APPROX_LEN = 12 * BIT, /* how long a copy with differences is, and what its end costs */
    PASSES_BEST = 2,
    EQUAL_TAIL_FAST = 4, /* bytes of a long run of equal ones from which a copy may begin */
    EQUAL_TAIL_BEST = 24,

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
    int64_t align;      /* of the last copy of the old file of the block before */
    bool goes_on;       /* which ended with that copy */
    struct bin_prices prices;
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
    if (last->kind == BIN_SELF && op->kind == BIN_SELF)
        return last->from == op->from;
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

/* ---- the cheapest way ---- */

static uint32_t len_price(size_t len)
{
    return 2 * BIT + bin_log_price(len);
}

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
    uint32_t price = 5 * BIT + bin_log_price((uint64_t)(step < 0 ? -step : step) + 1);
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

/* Copies of what the chain leads to, of more than `most` bytes; how long the longest copy is now. */
static size_t chain_offer(struct parse *p, size_t i, size_t at, size_t max, const struct bin_chains *chains,
                          size_t most)
{
    const struct bin_texts *t = p->t;
    int depth = t->effort == DELTA_FAST ? SELF_DEPTH_FAST : SELF_DEPTH_BEST;
    for (size_t place = bin_chains_before(chains, at); place != SIZE_MAX && depth > 0 && most < max;
         place = bin_chains_before(chains, place), depth--) {
        if (t->new[place + most] != t->new[at + most])
            continue;
        size_t n = bin_common(t->new + place, t->new + at, max);
        if (n <= most)
            continue;
        uint32_t price = 4 * BIT + bin_log_price(at - place);
        copy_offer(p, i, BIN_CHAINS_MIN, n,
                   (struct way){.price = price,
                                .kind = BIN_SELF,
                                .from = (int64_t)(at - place),
                                .align = p->ways[i].align,
                                .distance = (uint32_t)(at - place)});
        most = n;
    }
    return most;
}

static size_t self_offer(struct parse *p, size_t i, size_t at, size_t max)
{
    size_t most = again_offer(p, i, at, max);
    most = most < BIN_CHAINS_MIN ? BIN_CHAINS_MIN - 1 : most;
    if (p->least < BIN_CHAINS_LONG)
        most = chain_offer(p, i, at, max, p->t->chains, most);
    return chain_offer(p, i, at, max, p->t->chains_long, most);
}

static uint32_t align_price(int64_t align, int64_t last)
{
    const int64_t step = align - last;
    return step == 0 ? BIT : 5 * BIT + bin_log_price((uint64_t)(step < 0 ? -step : step) + 1);
}

/* A copy with differences, on the way. */
struct inexact {
    uint32_t price;
    size_t begin; /* of the copy, in the block */
    unsigned flags;
    uint32_t distance;
};

/* It begins here, where that is cheaper than to have begun before. */
static void inexact_begin(const struct parse *p, size_t i, int64_t align, struct inexact *x)
{
    const struct way *here = &p->ways[i];
    uint32_t price = here->price;
    if (i > 0 || !p->goes_on || here->align != align)
        price += 3 * BIT + APPROX_LEN + align_price(align, here->align);
    if (price >= x->price)
        return;
    x->price = price;
    x->begin = i;
    x->distance = here->distance;
}

/* And goes on for one byte. */
static void inexact_offer(struct parse *p, size_t i, size_t at, int64_t align, struct inexact *x)
{
    const uint8_t old = p->t->old[(int64_t)at + align];
    const uint8_t new = p->t->new[at];
    const bool differs = old != new;
    x->price += p->prices.differs[x->flags][differs];
    if (differs)
        x->price += p->prices.difference[(uint8_t)(new - old)];
    x->flags = (x->flags << 1 | differs) & ((1 << BIN_FLAGS_KNOWN) - 1);
    const size_t len = i + 1 - x->begin;
    way_offer(p, x->begin, len,
              (struct way){.price = x->price,
                           .kind = BIN_APPROX,
                           .from = (int64_t)at + align - (int64_t)(len - 1),
                           .align = align,
                           .distance = x->distance});
}

/* How many of the next bytes need no search, as the region has them all. */
static size_t equal_skip(const struct parse *p, size_t at, const struct bin_region *r)
{
    const size_t tail = p->t->effort == DELTA_FAST ? EQUAL_TAIL_FAST : EQUAL_TAIL_BEST;
    const size_t n = bin_common(p->t->old + ((int64_t)at + r->align), p->t->new + at, r->end - at);
    return n < 2 * tail ? 0 : n - tail;
}

/* region: the first one that ends behind start. */
static void ways_fill(struct parse *p, size_t start, size_t len, const struct bin_region *region,
                      const struct bin_region *regions_end)
{
    struct inexact inexact = {.price = UINT32_MAX};
    for (size_t i = 0; i <= len; i++)
        p->ways[i].price = UINT32_MAX;
    p->ways[0] = (struct way){.align = p->align, .distance = p->distance};
    for (size_t i = 0, skip = 0; i < len; i++) {
        const size_t at = start + i;
        struct way literal = p->ways[i];
        literal.price += p->prices.literal[p->t->new[at]];
        literal.kind = BIN_LITERALS;
        way_offer(p, i, 1, literal);
        if (region < regions_end && at == region->end) {
            region++;
            inexact = (struct inexact){.price = UINT32_MAX};
        }
        const bool inside = region < regions_end && at >= region->start;
        if (inside) {
            inexact_begin(p, i, region->align, &inexact);
            inexact_offer(p, i, at, region->align, &inexact);
        }
        const bool copied = p->ways[i].kind == BIN_SELF || p->ways[i].kind == BIN_OLD;
        if (i < skip && !copied)
            continue; /* but where a shorter copy ends, another may follow */
        const int64_t align = inside ? region->align : p->ways[i].align;
        const size_t old = old_offer(p, i, at, len - i, align);
        const size_t self = self_offer(p, i, at, len - i);
        const size_t longest = old > self ? old : self;
        skip = longest >= p->take ? i + longest : inside ? i + equal_skip(p, at, region) : 0;
    }
}

/* Follows the cheapest way back, and adds its ops in order. */
static enum err ways_add(struct parse *p, size_t at, size_t len, struct bin_ops *ops)
{
    p->distance = p->ways[len].distance;
    p->align = p->ways[len].align;
    p->goes_on = p->ways[len].kind == BIN_OLD || p->ways[len].kind == BIN_APPROX;
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
        if (op.kind == BIN_APPROX && memcmp(p->t->old + op.from, p->t->new + at, op.len) == 0)
            op.kind = BIN_OLD;
        at += op.len;
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

/* ---- all ---- */

/* Regions as copies, and literals between them. */
static enum err regions_add(const struct bin_regions *regions, size_t start, size_t end, struct bin_ops *ops)
{
    enum err e = ERR_OK;
    for (size_t i = 0; e == ERR_OK && i < regions->count; i++) {
        const struct bin_region *r = &regions->items[i];
        e = bin_ops_add(ops, (struct bin_op){.kind = BIN_LITERALS, .len = r->start - start});
        if (e == ERR_OK)
            e = bin_ops_add(
                ops,
                (struct bin_op){.kind = BIN_APPROX, .len = r->end - r->start, .from = (int64_t)r->start + r->align});
        start = r->end;
    }
    return e == ERR_OK ? bin_ops_add(ops, (struct bin_op){.kind = BIN_LITERALS, .len = end - start}) : e;
}

/* The cheapest way at prices that the ops of a first guess have; in place of them. */
static enum err pass(struct parse *p, const struct bin_regions *regions, size_t start, size_t end, struct bin_ops *ops)
{
    bin_prices_make(p->t->old, p->t->new + start, ops->items, ops->count, &p->prices);
    ops->count = 0;
    p->distance = 0;
    p->align = 0;
    p->goes_on = false;
    const struct bin_region *region = regions->items;
    const struct bin_region *regions_end = regions->count == 0 ? region : region + regions->count; /* no NULL + 0 */
    enum err e = ERR_OK;
    for (size_t at = start; e == ERR_OK && at < end;) {
        size_t len = end - at < BLOCK ? end - at : BLOCK;
        /* bytes that can only be stored are stored cheapest in one piece */
        p->least = len >= STORED_MIN && is_noise(p->t->new + at, len) ? NOISE_COPY_MIN : 0;
        while (region < regions_end && region->end <= at)
            region++;
        ways_fill(p, at, len, region, regions_end);
        e = ways_add(p, at, len, ops);
        at += len;
    }
    return e;
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

enum err bin_parse(const struct bin_texts *texts, size_t start, size_t end, struct bin_ops *ops)
{
    struct parse p = {.t = texts,
                      .ways = malloc((BLOCK + 1) * sizeof *p.ways),
                      .take = texts->effort == DELTA_FAST ? TAKE_FAST : TAKE_BEST};
    struct bin_regions regions = {0};
    struct bin_ops found = {0};
    enum err e = p.ways == NULL ? ERR_NO_MEMORY : bin_regions_find(texts, start, end, &regions);
    if (e == ERR_OK)
        e = regions_add(&regions, start, end, &found);
    const int passes = texts->effort == DELTA_FAST ? 1 : PASSES_BEST;
    for (int i = 0; e == ERR_OK && i < passes; i++)
        e = pass(&p, &regions, start, end, &found);
    if (e == ERR_OK)
        e = stored_find(&p, start, &found, ops);
    free(p.ways);
    bin_regions_free(&regions);
    bin_ops_free(&found);
    return e;
}
