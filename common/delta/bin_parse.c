#include "common/delta/bin_parse.h"

#include <stdlib.h>
#include <string.h>

/* Two steps. First regions that stand in the old file with few changes are looked for, as bsdiff does: a match that is
 * clearly longer than what the present alignment offers begins a new region, and regions grow in both directions as
 * long as enough of the bytes agree. What lies between regions is then told by the cheapest way through
 * literals, short copies of the old file and copies of the new one (dynamic programming over estimated prices). */

enum {
    CLEARLY_FAST = 8, /* bytes that another alignment must offer more; hashes find less than suffixes */
    CLEARLY_BEST = 4,
    AGREES_GAIN = 2,   /* what a byte of a region that agrees is worth */
    DIFFERS_LOSS = 3,  /* and what one that does not costs */
    REGION_MIN = 16,   /* agreeing bytes of a region; smaller ones are left to the second step */
    BLOCK = 64 * 1024, /* of the dynamic programming */
    TAKE = 192,        /* a copy that long is taken without asking further */
    SELF_DEPTH_FAST = 12,
    SELF_DEPTH_BEST = 200,
    OLD_MIN = 4,
    NOISE_COPY_MIN = 32,
    BIT = 16, /* prices are in 16ths of a bit */
    STORED_MIN = 2048,
    STORED_PIECE = 8192,
    NOISE_BITS = 233 /* (255 + 3 * sqrt(2 * 255)) / (2 * ln 2) */
};

struct region {
    size_t start, end; /* in the new file */
    int64_t align;     /* old offset - new offset */
};

struct regions {
    struct region *items;
    size_t count, room;
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

struct parse {
    const struct bin_texts *t;
    struct regions regions;
    struct way *ways;  /* BLOCK + 1 */
    uint32_t distance; /* of the last copy of the block before */
    uint32_t literal_price[256];
    size_t least; /* bytes that a copy has at least */
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

/* ---- regions ---- */

static bool agrees(const struct bin_texts *t, size_t at, int64_t align)
{
    int64_t old = (int64_t)at + align;
    return old >= 0 && (size_t)old < t->old_size && t->old[old] == t->new[at];
}

/* How far a region may grow from `from` towards `to` (either direction), so that agreeing bytes outweigh the others. */
static size_t region_grow(const struct bin_texts *t, size_t from, size_t to, int64_t align)
{
    int64_t score = 0;
    int64_t best = 0;
    size_t where = from;
    if (from <= to) {
        for (size_t i = from; i < to && (int64_t)i + align < (int64_t)t->old_size; i++) {
            score += agrees(t, i, align) ? AGREES_GAIN : -DIFFERS_LOSS;
            if (score > best) {
                best = score;
                where = i + 1;
            }
            if (score < best - 1024)
                break;
        }
        return where;
    }
    for (size_t i = from; i > to && (int64_t)i + align > 0; i--) {
        score += agrees(t, i - 1, align) ? AGREES_GAIN : -DIFFERS_LOSS;
        if (score > best) {
            best = score;
            where = i - 1;
        }
        if (score < best - 1024)
            break;
    }
    return where;
}

/* Two regions that overlap are parted where that keeps most agreeing bytes. */
static void regions_part(const struct bin_texts *t, struct region *a, struct region *b)
{
    int64_t score = 0;
    int64_t best = 0;
    size_t end = a->end < b->end ? a->end : b->end;
    size_t cut = b->start;
    for (size_t i = b->start; i < end; i++) {
        score += (int64_t)agrees(t, i, a->align) - (int64_t)agrees(t, i, b->align);
        if (score > best) {
            best = score;
            cut = i + 1;
        }
    }
    a->end = b->start = cut;
}

static enum err region_add(struct parse *p, struct region region)
{
    struct regions *list = &p->regions;
    while (list->count > 0 && list->items[list->count - 1].end > region.start) {
        struct region *last = &list->items[list->count - 1];
        if (last->align == region.align)
            region.start = last->start;
        else
            regions_part(p->t, last, &region);
        if (last->align == region.align || last->end <= last->start)
            list->count--;
    }
    if (region.end <= region.start)
        return ERR_OK;
    if (list->count == list->room) {
        size_t room = list->room == 0 ? 64 : list->room * 2;
        struct region *items = realloc(list->items, room * sizeof *items);
        if (items == NULL)
            return ERR_NO_MEMORY;
        list->items = items;
        list->room = room;
    }
    list->items[list->count++] = region;
    return ERR_OK;
}

/* bsdiff's scan. seed: the alignment and place of the present region, which is grown when the next one is found. */
static enum err regions_find(struct parse *p, size_t start, size_t end)
{
    const struct bin_texts *t = p->t;
    struct region seed = {.start = start, .end = start, .align = 0};
    size_t clearly = t->effort == DELTA_FAST ? CLEARLY_FAST : CLEARLY_BEST;
    size_t scan = start;
    size_t len = 0;
    enum err e = ERR_OK;
    while (e == ERR_OK && scan < end) {
        size_t counted = scan += len;
        size_t score = 0; /* agreeing bytes of [scan, counted) at the present alignment */
        size_t position = 0;
        for (; scan < end; scan++) {
            len = bin_index_longest(t->index, t->new + scan, end - scan, clearly, &position);
            for (; counted < scan + len; counted++)
                score += agrees(t, counted, seed.align);
            if ((len > 0 && len == score) || len > score + clearly)
                break;
            score -= scan < counted && agrees(t, scan, seed.align);
            counted = counted <= scan ? scan + 1 : counted;
        }
        if (scan < end && len == score)
            continue; /* the same alignment does as well */
        seed.end = region_grow(t, seed.end, end, seed.align);
        e = region_add(p, seed);
        if (scan >= end)
            break;
        struct region next = {.start = scan, .end = scan + len, .align = (int64_t)position - (int64_t)scan};
        next.start = region_grow(t, scan, seed.start, next.align);
        seed = next;
    }
    return e;
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
    for (size_t n = len >= TAKE ? len : min; n <= len; n++) {
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

static size_t old_offer(struct parse *p, size_t i, size_t at, size_t max, int64_t region_align)
{
    const struct bin_texts *t = p->t;
    const struct way *here = &p->ways[i];
    size_t position = 0;
    size_t most = aligned_offer(p, i, at, max, here->align, 4 * BIT);
    if (region_align != here->align) {
        size_t n = aligned_offer(p, i, at, max, region_align, 6 * BIT);
        most = n > most ? n : most;
    }
    size_t n = bin_index_nearest(t->index, t->new + at, max, p->least, (int64_t)at + here->align, &position);
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
        if (most >= TAKE)
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
        size_t self = old >= TAKE ? 0 : self_offer(p, i, start + i, len - i);
        size_t longest = old > self ? old : self;
        if (longest >= TAKE)
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

/* Regions that are too small to be worth it are forgotten. */
static void regions_prune(struct parse *p)
{
    size_t kept = 0;
    for (size_t i = 0; i < p->regions.count; i++) {
        struct region *r = &p->regions.items[i];
        size_t agreeing = 0;
        for (size_t at = r->start; at < r->end && agreeing < REGION_MIN; at++)
            agreeing += agrees(p->t, at, r->align);
        if (agreeing >= REGION_MIN)
            p->regions.items[kept++] = *r;
    }
    p->regions.count = kept;
}

static enum err region_op(const struct parse *p, const struct region *r, struct bin_ops *ops)
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

enum err bin_parse(const struct bin_texts *texts, size_t start, size_t end, struct bin_ops *ops)
{
    struct parse p = {.t = texts, .ways = malloc((BLOCK + 1) * sizeof *p.ways)};
    struct bin_ops found = {0};
    size_t at = start;
    int64_t align = 0;
    enum err e = p.ways == NULL ? ERR_NO_MEMORY : regions_find(&p, start, end);
    if (e == ERR_OK)
        regions_prune(&p);
    for (size_t i = 0; e == ERR_OK && i < p.regions.count; i++) {
        const struct region *r = &p.regions.items[i];
        e = gap_add(&p, at, r->start, align, &found);
        if (e == ERR_OK)
            e = region_op(&p, r, &found);
        at = r->end;
        align = r->align;
    }
    if (e == ERR_OK)
        e = gap_add(&p, at, end, align, &found);
    if (e == ERR_OK)
        e = stored_find(&p, start, &found, ops);
    free(p.ways);
    free(p.regions.items);
    bin_ops_free(&found);
    return e;
}
