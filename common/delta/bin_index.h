#pragma once
/* Where bytes of the new file stand in the old one, or earlier in the new one. Only for creating deltas: takes memory
 * in proportion to the files, up to limits. Read-only once made: any number of threads may ask. Internal to
 * common/delta. */

#include "common/delta/delta.h"

/* All of the old file: a suffix array (files up to 128 MiB at "best", 8 MiB at "fast"), hashes of positions else. */
struct bin_index;

/* bytes stay borrowed. ERR_NO_MEMORY. */
[[nodiscard]] enum err bin_index_make(const uint8_t *bytes, size_t size, enum delta_effort effort,
                                      struct bin_index **ret_index);
void bin_index_free(struct bin_index *index);

/* Length of the longest match (known to the index) of the len bytes at `at`, and where it is; 0 when there is none.
 * Matches of fewer than `least` bytes are of no interest, and may be missed. */
size_t bin_index_longest(const struct bin_index *index, const uint8_t *at, size_t len, size_t least,
                         size_t *ret_position);

/* The same, and of several such places one that is near `hint`. */
size_t bin_index_nearest(const struct bin_index *index, const uint8_t *at, size_t len, size_t least, int64_t hint,
                         size_t *ret_position);

/* Earlier places of the new file with the same first bytes, as chains: of four bytes, or of sixteen, whose chains are
 * shorter and so lead to the long matches that stand far back. */
struct bin_chains;
enum { BIN_CHAINS_MIN = 4, BIN_CHAINS_LONG = 16 };

/* min: one of the two. How far back chains go at least while positions are added `batch` at a time. ERR_NO_MEMORY. */
[[nodiscard]] enum err bin_chains_make(const uint8_t *bytes, size_t size, size_t batch, size_t min,
                                       struct bin_chains **ret_chains);
void bin_chains_free(struct bin_chains *chains);

/* Adds the positions up to end. No one may ask meanwhile. */
void bin_chains_add(struct bin_chains *chains, size_t end);

/* The place before position in its chain, or SIZE_MAX: none, or too far. */
size_t bin_chains_before(const struct bin_chains *chains, size_t position);

/* How many bytes two places have in common, at most max. */
size_t bin_common(const uint8_t *a, const uint8_t *b, size_t max);
