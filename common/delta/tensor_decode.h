#pragma once
/* Rebuilds one group of tensors after the other, row by row, in bounded memory. Internal to common/delta. */

#include "common/delta/plan.h"

struct tensor_decoder;

/* Bytes that one takes at most for a delta made at `fast`; at `best` it is nearly DELTA_APPLY_MEMORY_MAX. */
enum { TENSOR_DECODER_FAST_MAX = 2640 * 1024 };

/* One owner, one thread. Reads old_fd by pread, new_fd (scales) as well, and writes that by pwrite. Takes at most
 * memory_max bytes; 0: no limit. ERR_UNSUPPORTED, ERR_NO_MEMORY. info: of whatever fails, also later. */
[[nodiscard]] enum err tensor_decoder_new(int old_fd, int new_fd, enum delta_effort effort, size_t memory_max,
                                          struct err_info *info, struct tensor_decoder **ret_decoder);
void tensor_decoder_free(struct tensor_decoder *decoder);

/* Decodes the pairs of a group from all bytes of the source between at and end. ERR_CORRUPT, ERR_UNSUPPORTED, ERR_IO,
 * ERR_NO_SPACE, ERR_NO_MEMORY. */
[[nodiscard]] enum err tensor_group_decode(struct tensor_decoder *decoder, const struct tensor_source *source,
                                           uint64_t at, uint64_t end, const struct tensor_pair *pairs, size_t count);

/* What a tensor with slices (states.h) begins with. */
struct tensor_head {
    bool has_slices; /* else the tensor is told in another way: tensor_group_decode() is for it */
    struct plan plan;
    float *across; /* of the plan; owned: free() it; NULL for none */
    uint64_t end;  /* in the source: where the length of the first slice is */
};

/* Errors as above. ret_head is untouched when one is returned. */
[[nodiscard]] enum err tensor_head_decode(struct tensor_decoder *decoder, const struct tensor_source *source,
                                          uint64_t at, uint64_t end, const struct tensor_pair *pair,
                                          struct tensor_head *ret_head);

/* Rows from first on, from all bytes of the source between at and end; the plan is only read. Errors as above. */
[[nodiscard]] enum err tensor_slice_decode(struct tensor_decoder *decoder, const struct tensor_source *source,
                                           uint64_t at, uint64_t end, const struct tensor_pair *pair,
                                           const struct plan *plan, uint64_t first, uint64_t rows);
