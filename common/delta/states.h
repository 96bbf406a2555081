#pragma once
/* What the coders have learnt, for each kind of numbers apart, and how long it is kept. Internal to common/delta. */

#include "common/delta/plan.h"

enum profile { PROFILE_NEAR, PROFILE_INTEGER, PROFILE_FACTORS, PROFILE_COUNT };

/* Tensors are coded in groups, each with new states, so that groups are independent; a group ends with the tensor that
 * brings it to this many elements. At `fast` a tensor of two slices and more is a group of its own, and is coded in
 * slices, each with new states: rows with their factors, after the plan and the factors across. */
enum { STATES_GROUP_FAST = 1 << 18, STATES_SLICE_FAST = 1 << 19, STATES_GROUP_BEST = 1 << 21 };

/* Rows of a slice; all rows when the tensor has no slices. */
uint64_t states_slice_rows(const struct tensor_view *view, enum delta_effort effort);
bool states_has_slices(const struct tensor_pair *pair, enum delta_effort effort);

struct states {
    enum delta_effort effort;
    size_t memory, memory_max; /* taken, and at most; memory_max 0: no limit */
    struct residual *residuals[PROFILE_COUNT];
    struct column *columns;
    size_t column_room;
    struct column factor_columns[PREDICT_RANK_MAX + 1];
};

/* Which pair each group begins with: ret_first has room for count + 1, behind the last group comes count. Returns the
 * number of groups. A group begins with the first pair that has scales, so that all scales lie in groups before. */
size_t states_groups(const struct tensor_pair *pairs, size_t count, enum delta_effort effort, size_t *ret_first);

enum profile states_profile(const struct plan *plan, enum tensor_type type);

/* Begins a tensor's elements or its factors. ERR_UNSUPPORTED: would take more than memory_max; ERR_NO_MEMORY. */
[[nodiscard]] enum err states_begin(struct states *states, const struct plan *plan, const struct tensor_view *view,
                                    struct residual **ret_elements, struct err_info *info);
[[nodiscard]] enum err states_begin_factors(struct states *states, unsigned factors, struct residual **ret_factors,
                                            struct err_info *info);

/* Takes bytes from what states may take. ERR_UNSUPPORTED. */
[[nodiscard]] enum err states_take(struct states *states, size_t bytes, struct err_info *info);

/* Forgets all that was learnt. */
void states_reset(struct states *states);
