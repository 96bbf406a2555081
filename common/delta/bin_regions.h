#pragma once
/* Parts of the new file that stand in the old one with few changes. Only for creating deltas. Internal to common/delta.
 */

#include "common/delta/bin_index.h"

struct bin_texts {
    const uint8_t *old;
    size_t old_size;
    const uint8_t *new;
    size_t new_size;
    const struct bin_index *index;   /* of old */
    const struct bin_chains *chains; /* of new */
    const struct bin_chains *chains_long;
    enum delta_effort effort;
};

struct bin_region {
    size_t start, end; /* in the new file */
    int64_t align;     /* old offset - new offset */
};

/* In order, none overlap. */
struct bin_regions {
    struct bin_region *items; /* owned */
    size_t count, room;
};

/* Fills an empty list with the regions of [start, end), to be freed in any case. Any number of threads. ERR_NO_MEMORY.
 */
[[nodiscard]] enum err bin_regions_find(const struct bin_texts *texts, size_t start, size_t end,
                                        struct bin_regions *list);
void bin_regions_free(struct bin_regions *list);
