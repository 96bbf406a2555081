#include "common/delta/bin_index.h"

#include <divsufsort.h>
#include <stdlib.h>
#include <string.h>

enum {
    SUFFIX_MAX_BEST = 128 * 1024 * 1024, /* of the old file; its array is four times that */
    SUFFIX_MAX_FAST = 8 * 1024 * 1024,   /* sorting larger ones takes longer than all else */
    ENTRIES_MAX = 64 * 1024 * 1024,      /* positions of the old file that have a hash */
    COMPARE_MAX = 64 * 1024,             /* while searching; the match found is then followed to its end */
    NEAR_TRIES_BEST = 32,                /* equal places, to each side */
    NEAR_TRIES_FAST = 4,
    NEAR_LEN_MAX = 64,
    HASH_DEPTH = 32,
    FILTER_LEN = 8,
    HASH_LEN = 6,        /* bytes under a hash when every position has one */
    HASH_LEN_SPARSE = 24 /* and when not: what is shorter is not found for sure anyway */
};

struct bin_index {
    const uint8_t *bytes;
    size_t size;
    saidx_t *suffixes; /* NULL: hashes */
    saidx_t *buckets;  /* 65537: where suffixes that begin with these two bytes are */
    uint64_t *filter;  /* a bit for the hash of each FILTER_LEN bytes that there are: most searches end here */
    unsigned filter_bits;
    uint32_t *heads, *before; /* 1 + number of an entry; its position is that number times step */
    unsigned head_bits;
    size_t step, hash_len;
    int near_tries;
};

struct bin_chains {
    const uint8_t *bytes;
    size_t size, added, window, min;
    uint32_t *heads, *before; /* distances would wrap: 1 + low 32 bits of the position */
    unsigned head_bits;
};

size_t bin_common(const uint8_t *a, const uint8_t *b, size_t max)
{
    size_t n = 0;
    while (n + 8 <= max) {
        uint64_t x;
        uint64_t y;
        memcpy(&x, a + n, 8);
        memcpy(&y, b + n, 8);
        if (x != y)
            break;
        n += 8;
    }
    while (n < max && a[n] == b[n])
        n++;
    return n;
}

/* ---- suffix array ---- */

static uint64_t word_at(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, 8);
    return word;
}

static uint64_t filter_hash(const struct bin_index *index, const uint8_t *at)
{
    return (word_at(at) * 0x9e3779b97f4a7c15u) >> (64 - index->filter_bits);
}

/* Eight bits for each position, so that one of eight tells a lie at most. */
static enum err filter_make(struct bin_index *index)
{
    index->filter_bits = 10;
    while (index->filter_bits < 32 && (size_t)1 << index->filter_bits < 8 * index->size)
        index->filter_bits++;
    index->filter = calloc((size_t)1 << (index->filter_bits - 6), sizeof *index->filter);
    if (index->filter == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i + FILTER_LEN <= index->size; i++) {
        const uint64_t hash = filter_hash(index, index->bytes + i);
        index->filter[hash >> 6] |= (uint64_t)1 << (hash & 63);
    }
    return ERR_OK;
}

/* There is no match of `least` bytes for sure. */
static bool filter_refuses(const struct bin_index *index, const uint8_t *at, size_t len, size_t least)
{
    if (least < FILTER_LEN)
        return false;
    const uint64_t hash = len < FILTER_LEN ? 0 : filter_hash(index, at);
    return len < FILTER_LEN || (index->filter[hash >> 6] >> (hash & 63) & 1) == 0;
}

static enum err suffixes_make(struct bin_index *index)
{
    size_t n = index->size;
    index->suffixes = malloc((n + 1) * sizeof *index->suffixes);
    index->buckets = calloc(65537, sizeof *index->buckets);
    if (index->suffixes == NULL || index->buckets == NULL)
        return ERR_NO_MEMORY;
    if (n > 0 && divsufsort(index->bytes, index->suffixes, (saidx_t)n) != 0)
        return ERR_NO_MEMORY;
    /* A suffix of one byte stands before all others that begin with it. */
    for (size_t i = 0; i < n; i++) {
        unsigned first = (unsigned)index->bytes[i] << 8;
        index->buckets[(i + 1 < n ? first | index->bytes[i + 1] : first) + 1]++;
    }
    for (size_t i = 0; i < 65536; i++)
        index->buckets[i + 1] += index->buckets[i];
    return filter_make(index);
}

/* Binary search that never compares again what the two ends have in common. */
static size_t suffixes_longest(const struct bin_index *index, const uint8_t *at, size_t len, size_t *ret_position,
                               size_t *ret_rank)
{
    if (len < 2)
        return 0;
    size_t low = (size_t)index->buckets[(unsigned)at[0] << 8 | at[1]];
    size_t high = (size_t)index->buckets[((unsigned)at[0] << 8 | at[1]) + 1];
    size_t low_common = 0;
    size_t high_common = 0;
    size_t best = 0;
    size_t rank = 0;
    size_t most = len < COMPARE_MAX ? len : COMPARE_MAX;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        size_t position = (size_t)index->suffixes[mid];
        size_t known = low_common < high_common ? low_common : high_common;
        size_t max = index->size - position < most ? index->size - position : most;
        known = known < max ? known : max;
        size_t n = known + bin_common(index->bytes + position + known, at + known, max - known);
        if (n > best) {
            best = n;
            rank = mid;
        }
        if (n == most)
            break;
        if (n == max || index->bytes[position + n] < at[n]) {
            low = mid + 1;
            low_common = n;
        } else {
            high = mid;
            high_common = n;
        }
    }
    if (best == 0)
        return 0;
    size_t where = (size_t)index->suffixes[rank];
    size_t rest = (index->size - where < len ? index->size - where : len) - best;
    if (best == most)
        best += bin_common(index->bytes + where + best, at + best, rest);
    *ret_position = where;
    *ret_rank = rank;
    return best;
}

/* ---- hashes ---- */

static uint32_t hash_at(const struct bin_index *index, const uint8_t *p)
{
    if (index->hash_len == HASH_LEN)
        return (uint32_t)(((word_at(p) << 16) * 0x9e3779b97f4a7c15u) >> (64 - index->head_bits));
    uint64_t mixed = word_at(p) * 0x9e3779b97f4a7c15u ^ word_at(p + 8);
    mixed = (mixed ^ mixed >> 29) * 0xbf58476d1ce4e5b9u ^ word_at(p + 16);
    return (uint32_t)(((mixed ^ mixed >> 32) * 0x94d049bb133111ebu) >> (64 - index->head_bits));
}

static size_t readable(const struct bin_index *index)
{
    return index->hash_len == HASH_LEN ? 8 : HASH_LEN_SPARSE;
}

static enum err hashes_make(struct bin_index *index)
{
    index->step = index->size / ENTRIES_MAX + 1;
    index->hash_len = index->step == 1 ? HASH_LEN : HASH_LEN_SPARSE;
    size_t entries = index->size / index->step;
    index->head_bits = 10;
    while (index->head_bits < 26 && (size_t)1 << index->head_bits < entries)
        index->head_bits++;
    index->heads = calloc((size_t)1 << index->head_bits, sizeof *index->heads);
    index->before = malloc((entries + 1) * sizeof *index->before);
    if (index->heads == NULL || index->before == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < entries && i * index->step + readable(index) <= index->size; i++) {
        uint32_t hash = hash_at(index, index->bytes + i * index->step);
        index->before[i] = index->heads[hash];
        index->heads[hash] = (uint32_t)(i + 1);
    }
    return ERR_OK;
}

static size_t hashes_longest(const struct bin_index *index, const uint8_t *at, size_t len, size_t *ret_position)
{
    if (len < readable(index))
        return 0;
    size_t best = 0;
    uint32_t entry = index->heads[hash_at(index, at)];
    for (int i = 0; entry != 0 && i < HASH_DEPTH; i++, entry = index->before[entry - 1]) {
        size_t position = (size_t)(entry - 1) * index->step;
        size_t max = index->size - position < len ? index->size - position : len;
        if (best > 0 && (best >= max || index->bytes[position + best] != at[best]))
            continue;
        size_t n = bin_common(index->bytes + position, at, max);
        if (n > best) {
            best = n;
            *ret_position = position;
        }
        if (n >= COMPARE_MAX)
            break;
    }
    return best;
}

/* ---- either ---- */

enum err bin_index_make(const uint8_t *bytes, size_t size, enum delta_effort effort, struct bin_index **ret_index)
{
    struct bin_index *index = calloc(1, sizeof *index);
    if (index == NULL)
        return ERR_NO_MEMORY;
    index->bytes = bytes;
    index->size = size;
    index->near_tries = effort == DELTA_BEST ? NEAR_TRIES_BEST : NEAR_TRIES_FAST;
    const size_t suffix_max = effort == DELTA_BEST ? SUFFIX_MAX_BEST : SUFFIX_MAX_FAST;
    enum err e = size <= suffix_max ? suffixes_make(index) : hashes_make(index);
    if (e != ERR_OK) {
        bin_index_free(index);
        return e;
    }
    *ret_index = index;
    return ERR_OK;
}

void bin_index_free(struct bin_index *index)
{
    if (index == NULL)
        return;
    free(index->suffixes);
    free(index->buckets);
    free(index->filter);
    free(index->heads);
    free(index->before);
    free(index);
}

size_t bin_index_longest(const struct bin_index *index, const uint8_t *at, size_t len, size_t least,
                         size_t *ret_position)
{
    size_t rank = 0;
    if (index->suffixes != NULL && filter_refuses(index, at, len, least))
        return 0;
    return index->suffixes != NULL ? suffixes_longest(index, at, len, ret_position, &rank)
                                   : hashes_longest(index, at, len, ret_position);
}

static uint64_t apart(size_t position, int64_t hint)
{
    int64_t step = (int64_t)position - hint;
    return (uint64_t)(step < 0 ? -step : step);
}

/* Places with the same bytes stand side by side: some of them are looked at, on both sides. */
size_t bin_index_nearest(const struct bin_index *index, const uint8_t *at, size_t len, size_t least, int64_t hint,
                         size_t *ret_position)
{
    if (index->suffixes == NULL)
        return hashes_longest(index, at, len, ret_position);
    size_t rank = 0;
    size_t best = filter_refuses(index, at, len, least) ? 0 : suffixes_longest(index, at, len, ret_position, &rank);
    for (int side = -1; best > 0 && best <= NEAR_LEN_MAX && side <= 1; side += 2) {
        size_t i = rank;
        for (int n = 0; n < index->near_tries && (side < 0 ? i > 0 : i + 1 < index->size); n++) {
            i = side < 0 ? i - 1 : i + 1;
            size_t position = (size_t)index->suffixes[i];
            if (index->size - position < best || memcmp(index->bytes + position, at, best) != 0)
                break;
            if (apart(position, hint) < apart(*ret_position, hint))
                *ret_position = position;
        }
    }
    return best;
}

/* ---- chains of the new file ---- */

enum { WINDOW_MAX = 64 * 1024 * 1024 };

enum err bin_chains_make(const uint8_t *bytes, size_t size, size_t batch, size_t min, struct bin_chains **ret_chains)
{
    struct bin_chains *chains = calloc(1, sizeof *chains);
    if (chains == NULL)
        return ERR_NO_MEMORY;
    chains->bytes = bytes;
    chains->size = size;
    chains->min = min;
    chains->window = 1024;
    while (chains->window < WINDOW_MAX && chains->window < size)
        chains->window *= 2;
    chains->head_bits = 10;
    while (chains->head_bits < 22 && (size_t)1 << chains->head_bits < size)
        chains->head_bits++;
    chains->heads = calloc((size_t)1 << chains->head_bits, sizeof *chains->heads);
    chains->before = malloc(chains->window * sizeof *chains->before);
    if (chains->heads == NULL || chains->before == NULL || batch >= WINDOW_MAX) {
        bin_chains_free(chains);
        return ERR_NO_MEMORY;
    }
    *ret_chains = chains;
    return ERR_OK;
}

void bin_chains_free(struct bin_chains *chains)
{
    if (chains == NULL)
        return;
    free(chains->heads);
    free(chains->before);
    free(chains);
}

static uint32_t chains_hash(const struct bin_chains *chains, const uint8_t *at)
{
    if (chains->min == BIN_CHAINS_LONG) {
        uint64_t mixed = word_at(at) * 0x9e3779b97f4a7c15u ^ word_at(at + 8);
        return (uint32_t)(((mixed ^ mixed >> 32) * 0xbf58476d1ce4e5b9u) >> (64 - chains->head_bits));
    }
    uint32_t word;
    memcpy(&word, at, 4);
    return (word * 0x9e3779b1u) >> (32 - chains->head_bits);
}

/* An entry is the distance to the place before it, 0 for none: what is farther than the window is forgotten. */
void bin_chains_add(struct bin_chains *chains, size_t end)
{
    for (; chains->added < end; chains->added++) {
        size_t at = chains->added;
        uint32_t *entry = &chains->before[at & (chains->window - 1)];
        *entry = 0;
        if (at + chains->min > chains->size)
            continue;
        uint32_t *head = &chains->heads[chains_hash(chains, chains->bytes + at)];
        uint32_t distance = (uint32_t)at - (*head - 1); /* right below 4 GiB; checked by whoever follows it */
        if (*head != 0 && distance < chains->window)
            *entry = distance;
        *head = (uint32_t)at + 1;
    }
}

size_t bin_chains_before(const struct bin_chains *chains, size_t position)
{
    size_t distance = chains->before[position & (chains->window - 1)];
    if (distance == 0 || distance > position || chains->added - (position - distance) >= chains->window)
        return SIZE_MAX;
    return position - distance;
}
