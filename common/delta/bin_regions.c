#include "common/delta/bin_regions.h"

#include <stdlib.h>
#include <string.h>

/* A match that is clearly longer than what the present alignment offers begins a new region, and regions grow in both
 * directions as long as enough of the bytes agree. At "fast" stretches that are told more cheaply otherwise are cut out
 * again. */

enum {
    CLEARLY_FAST = 8, /* bytes that another alignment must offer more; hashes find less than suffixes */
    CLEARLY_BEST = 4,
    STRIDE_FAST = 2,   /* bytes from one search to the next: regions grow back to where they begin */
    AGREES_GAIN = 2,   /* what a byte of a region that agrees is worth */
    DIFFERS_LOSS = 3,  /* and what one that does not costs */
    REGION_MIN = 16,   /* agreeing bytes of a region; smaller ones are of no use */
    HOLE_GAIN = 2,     /* what a byte that differs is worth for cutting, */
    HOLE_LOSS = 3,     /* what one that agrees costs, */
    HOLE_MIN = 32,     /* and what is enough */
    REPEAT_DEPTH = 8,  /* earlier places of the new file that are looked at */
    REPEAT_MIN = 16,   /* bytes that stand there */
    REPEAT_DIFFERS = 6 /* of which so many are not as in the old file */
};

void bin_regions_free(struct bin_regions *list)
{
    free(list->items);
    *list = (struct bin_regions){0};
}

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
static void regions_part(const struct bin_texts *t, struct bin_region *a, struct bin_region *b)
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

/* Appends a region that begins behind all others, or overlaps them at their end. */
static enum err region_add(const struct bin_texts *t, struct bin_regions *list, struct bin_region region)
{
    while (list->count > 0 && list->items[list->count - 1].end > region.start) {
        struct bin_region *last = &list->items[list->count - 1];
        if (last->align == region.align)
            region.start = last->start;
        else
            regions_part(t, last, &region);
        if (last->align == region.align || last->end <= last->start)
            list->count--;
    }
    if (region.end <= region.start)
        return ERR_OK;
    if (list->count == list->room) {
        size_t room = list->room == 0 ? 64 : list->room * 2;
        struct bin_region *items = realloc(list->items, room * sizeof *items);
        if (items == NULL)
            return ERR_NO_MEMORY;
        list->items = items;
        list->room = room;
    }
    list->items[list->count++] = region;
    return ERR_OK;
}

/* bsdiff's scan. seed: the alignment and place of the present region, which is grown when the next one is found. */
static enum err scan(const struct bin_texts *t, size_t start, size_t end, struct bin_regions *list)
{
    struct bin_region seed = {.start = start, .end = start, .align = 0};
    size_t clearly = t->effort == DELTA_FAST ? CLEARLY_FAST : CLEARLY_BEST;
    const size_t stride = t->effort == DELTA_FAST ? STRIDE_FAST : 1;
    size_t at = start;
    size_t len = 0;
    enum err e = ERR_OK;
    while (e == ERR_OK && at < end) {
        size_t counted = at += len;
        size_t score = 0; /* agreeing bytes of [at, counted) at the present alignment */
        size_t position = 0;
        for (; at < end; at += stride) {
            len = bin_index_longest(t->index, t->new + at, end - at, clearly, &position);
            for (; counted < at + len; counted++)
                score += agrees(t, counted, seed.align);
            if ((len > 0 && len == score) || len > score + clearly)
                break;
            for (size_t skip = 0; skip < stride && at + skip < end; skip++)
                score -= at + skip < counted && agrees(t, at + skip, seed.align);
            counted = counted < at + stride ? at + stride : counted;
        }
        if (at < end && len == score)
            continue; /* the same alignment does as well */
        seed.end = region_grow(t, seed.end, end, seed.align);
        e = region_add(t, list, seed);
        if (at >= end)
            break;
        struct bin_region next = {.start = at, .end = at + len, .align = (int64_t)position - (int64_t)at};
        next.start = region_grow(t, at, seed.start, next.align);
        seed = next;
    }
    return e;
}

/* ---- holes ---- */

/* How many bytes from `at` on stand earlier in the new file, at most max. */
static size_t repeated(const struct bin_texts *t, size_t at, size_t max)
{
    int depth = REPEAT_DEPTH;
    size_t most = 0;
    for (size_t place = bin_chains_before(t->chains, at); place != SIZE_MAX && depth > 0 && most < max;
         place = bin_chains_before(t->chains, place), depth--) {
        const size_t n = bin_common(t->new + place, t->new + at, max);
        most = n > most ? n : most;
    }
    return most;
}

/* Bytes of a region from `at` on that are told more cheaply as a copy of the new file; 0: none. */
static size_t repeat_better(const struct bin_texts *t, const struct bin_region *r, size_t at)
{
    const size_t n = repeated(t, at, r->end - at);
    size_t differing = 0;
    for (size_t i = at; n >= REPEAT_MIN && i < at + n; i++)
        differing += !agrees(t, i, r->align);
    return differing >= REPEAT_DIFFERS ? n : 0;
}

/* The first stretch of a region that is better told otherwise: what stands earlier in the new file, or where so few
 * bytes agree that literals and short copies are cheaper. false: none. */
static bool hole_find(const struct bin_texts *t, const struct bin_region *r, struct bin_region *ret_hole)
{
    int64_t score = 0; /* of [first, i) */
    int64_t best = 0;
    size_t first = r->start;
    bool same_before = true;
    for (size_t i = r->start; i < r->end && (best < HOLE_MIN || score > best - HOLE_MIN); i++) {
        const bool same = agrees(t, i, r->align);
        const size_t n = same_before && !same && best < HOLE_MIN ? repeat_better(t, r, i) : 0;
        if (n > 0) {
            *ret_hole = (struct bin_region){.start = i, .end = i + n};
            return true;
        }
        same_before = same;
        score += same ? -HOLE_LOSS : HOLE_GAIN;
        if (score > best) {
            best = score;
            *ret_hole = (struct bin_region){.start = first, .end = i + 1};
        }
        if (score <= 0) {
            score = best = 0;
            first = i + 1;
        }
    }
    return best >= HOLE_MIN;
}

/* Cuts the holes out of all regions. */
static enum err holes_cut(const struct bin_texts *t, struct bin_regions *list)
{
    struct bin_regions out = {0};
    enum err e = ERR_OK;
    for (size_t i = 0; e == ERR_OK && i < list->count; i++) {
        struct bin_region rest = list->items[i];
        struct bin_region hole;
        while (e == ERR_OK && hole_find(t, &rest, &hole)) {
            e = region_add(t, &out, (struct bin_region){.start = rest.start, .end = hole.start, .align = rest.align});
            rest.start = hole.end;
        }
        if (e == ERR_OK)
            e = region_add(t, &out, rest);
    }
    bin_regions_free(list);
    *list = out;
    return e;
}

/* Regions that are too small to be worth it are forgotten. */
static void prune(const struct bin_texts *t, struct bin_regions *list)
{
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++) {
        const struct bin_region r = list->items[i];
        size_t agreeing = 0;
        for (size_t at = r.start; at < r.end && agreeing < REGION_MIN; at++)
            agreeing += agrees(t, at, r.align);
        if (agreeing >= REGION_MIN)
            list->items[kept++] = r;
    }
    list->count = kept;
}

enum err bin_regions_find(const struct bin_texts *texts, size_t start, size_t end, struct bin_regions *list)
{
    enum err e = scan(texts, start, end, list);
    if (e == ERR_OK)
        prune(texts, list);
    if (false && e == ERR_OK && texts->effort == DELTA_FAST)
        e = holes_cut(texts, list);
    return e;
}
