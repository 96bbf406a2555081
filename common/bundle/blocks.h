#pragma once
/* Digests of the blocks of a payload entry, in the signed manifest: so a device knows which part of an unfinished or
 * damaged download is right. Internal to common/bundle. docs/design/bundle-format.md, "Blocks". */

#include "common/bundle/manifest.h"

enum {
    BLOCKS_MAX = 128, /* of all entries of a bundle that is made here, together */
    BLOCK_HEX = SHA256_HEX - 1
};

/* Blocks of an entry; 1 for an entry that has no list: its own digest says it all. */
int64_t blocks_count(const struct manifest_payload *entry);

/* Where a block lies in the entry, its bytes and its digest. i < blocks_count(). */
struct block {
    int64_t offset, size;
    char sha256[SHA256_HEX];
};
struct block blocks_at(const struct manifest_payload *entry, int64_t i);

/* The smallest size, a power of two from MANIFEST_BLOCK_MIN on, in which all entries larger than it have at most max
 * blocks together; 0 when max is less than two. */
int64_t blocks_size(const struct manifest_payload *entries, size_t count, int64_t max);

/* {"size", "sha256"} of the manifest for an entry of so many bytes, which are in fd from offset on (json_decref() it).
 * Blocks. ERR_IO, ERR_CORRUPT (it ends too early), ERR_NO_MEMORY. */
[[nodiscard]] enum err blocks_describe(int fd, int64_t offset, int64_t size, int64_t block_size, json_t **ret_json);
