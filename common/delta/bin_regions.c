#include "common/delta/bin_regions.h"

#include <stdlib.h>
#include <string.h>

/* A match that is clearly longer than what the present alignment offers begins a new region, and regions grow in both
 * directions as long as enough of the bytes agree. Whether they are taken is decided by price (bin_parse.c). */

enum {
    CLEARLY_FAST = 8, /* bytes that another alignment must offer more; hashes find less than suffixes */
    CLEARLY_BEST = 4,
    STRIDE_FAST = 2,  /* bytes from one search to the next: regions grow back to where they begin */
    AGREES_GAIN = 2,  /* what a byte of a region that agrees is worth */
    DIFFERS_LOSS = 3, /* and what one that does not costs */
    REGION_MIN = 16,  /* agreeing bytes of a region; smaller ones are of no use */
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
    return e;
}
