#include "common/delta/bin_op.h"

#include "common/delta/bin_fast.h"
#include "common/delta/bin_model.h"

const struct bin_coding *bin_coding_of(enum delta_effort effort)
{
    return effort == DELTA_FAST ? &bin_fast_coding : &bin_model_coding;
}

void bin_aligns_start(struct bin_aligns *aligns)
{
    for (size_t i = 0; i < BIN_ALIGNS; i++)
        aligns->last[i] = (int64_t)i;
}

size_t bin_aligns_find(const struct bin_aligns *aligns, int64_t align)
{
    size_t which = 0;
    while (which < BIN_ALIGNS && aligns->last[which] != align)
        which++;
    return which;
}

void bin_aligns_front(struct bin_aligns *aligns, int64_t align, size_t which)
{
    for (size_t i = which < BIN_ALIGNS ? which : BIN_ALIGNS - 1; i > 0; i--)
        aligns->last[i] = aligns->last[i - 1];
    aligns->last[0] = align;
}
