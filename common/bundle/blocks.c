#include "common/bundle/blocks.h"

#include "common/base/cleanup.h"

#include <string.h>

static int64_t pieces(int64_t size, int64_t block_size)
{
    return size / block_size + (size % block_size != 0);
}

int64_t blocks_count(const struct manifest_payload *entry)
{
    return entry->blocks == NULL ? 1 : pieces(entry->size, entry->block_size);
}

struct block blocks_at(const struct manifest_payload *entry, int64_t i)
{
    struct block block = {.size = entry->size};
    if (entry->blocks != NULL) {
        block.offset = i * entry->block_size;
        block.size = entry->size - block.offset;
        if (block.size > entry->block_size)
            block.size = entry->block_size;
    }
    memcpy(block.sha256, entry->blocks == NULL ? entry->sha256 : entry->blocks + i * BLOCK_HEX, BLOCK_HEX);
    return block;
}

int64_t blocks_size(const struct manifest_payload *entries, size_t count, int64_t max)
{
    int64_t size = MANIFEST_BLOCK_MIN;
    for (; max >= 2; size *= 2) {
        int64_t sum = 0;
        for (size_t i = 0; i < count; i++)
            sum += entries[i].size > size ? pieces(entries[i].size, size) : 0;
        if (sum <= max)
            return size;
    }
    return 0;
}

enum err blocks_describe(int fd, int64_t offset, int64_t size, int64_t block_size, json_t **ret_json)
{
    int64_t count = pieces(size, block_size);
    cleanup_free char *list = malloc((size_t)count * BLOCK_HEX + 1);
    if (list == NULL)
        return ERR_NO_MEMORY;
    for (int64_t i = 0; i < count; i++) {
        int64_t left = size - i * block_size;
        enum err e =
            sha256_pread(fd, offset + i * block_size, left < block_size ? left : block_size, list + i * BLOCK_HEX);
        if (e != ERR_OK)
            return e;
    }
    *ret_json = json_pack("{s:I, s:s}", "size", (json_int_t)block_size, "sha256", list);
    return *ret_json == NULL ? ERR_NO_MEMORY : ERR_OK;
}
