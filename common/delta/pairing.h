#pragma once
/* Which tensors of a new model are predicted from which ones of the old. Only for creating deltas. Internal to
 * common/delta. */

#include "common/delta/format.h"

struct pairing {
    enum format_container container; /* FORMAT_BINARY: no tensors */
    struct tensor_pair *pairs;       /* owned; in the order of the file, scales before what they scale */
    size_t count;
};

/* Never fails for what the files contain: what is no model, or a damaged one, is a binary. ERR_NO_MEMORY. */
[[nodiscard]] enum err pairing_make(const struct tensor_files *files, struct pairing *ret_pairing);
void pairing_free(struct pairing *pairing);
