#include "common/delta/states.h"

#include <stdlib.h>

uint64_t states_slice_rows(const struct tensor_view *view, enum delta_effort effort)
{
    const uint64_t slices = effort == DELTA_BEST ? 1 : view->rows * view->cols / STATES_SLICE_FAST;
    return slices < 2 ? view->rows : (view->rows + slices - 1) / slices;
}

bool states_has_slices(const struct tensor_pair *pair, enum delta_effort effort)
{
    const struct tensor_view view = tensor_view_of(pair);
    return states_slice_rows(&view, effort) < view.rows;
}

size_t states_groups(const struct tensor_pair *pairs, size_t count, enum delta_effort effort, size_t *ret_first)
{
    const uint64_t enough = effort == DELTA_BEST ? STATES_GROUP_BEST : STATES_GROUP_FAST;
    uint64_t elements = enough;
    size_t groups = 0;
    bool scaled = false;
    for (size_t i = 0; i < count; i++) {
        const bool first_scaled = !scaled && pairs[i].new_scales >= 0;
        if (elements >= enough || first_scaled || states_has_slices(&pairs[i], effort)) {
            ret_first[groups++] = i;
            elements = 0;
        }
        scaled |= first_scaled;
        elements += pairs[i].rows * pairs[i].cols;
    }
    ret_first[groups] = count;
    return groups;
}

enum profile states_profile(const struct plan *plan, enum tensor_type type)
{
    return plan->base == BASE_GRID || !numbers_are_floats(type) ? PROFILE_INTEGER : PROFILE_NEAR;
}

enum err states_take(struct states *states, size_t bytes, struct err_info *info)
{
    if (states->memory_max != 0 && bytes > states->memory_max - states->memory) {
        enum err e = err_code(info, ERR_UNSUPPORTED, "delta_unsupported", "The delta needs too much memory here.");
        err_next(info, "Use the full file.");
        return e;
    }
    states->memory += bytes;
    return ERR_OK;
}

static enum err residual_of(struct states *states, enum profile profile, struct residual **ret_residual,
                            struct err_info *info)
{
    struct residual **residual = &states->residuals[profile];
    if (*residual == NULL) {
        enum err e = states_take(states, residual_size(states->effort), info);
        if (e != ERR_OK)
            return e;
        *residual = residual_new(states->effort);
        if (*residual == NULL)
            return ERR_NO_MEMORY;
    }
    *ret_residual = *residual;
    return ERR_OK;
}

static enum err columns_reserve(struct states *states, size_t count, struct err_info *info)
{
    if (count <= states->column_room)
        return ERR_OK;
    enum err e = states_take(states, (count - states->column_room) * sizeof(struct column), info);
    if (e != ERR_OK)
        return e;
    free(states->columns);
    states->columns = malloc(count * sizeof(struct column));
    states->column_room = states->columns == NULL ? 0 : count;
    return states->columns == NULL ? ERR_NO_MEMORY : ERR_OK;
}

enum err states_begin(struct states *states, const struct plan *plan, const struct tensor_view *view,
                      struct residual **ret_elements, struct err_info *info)
{
    const size_t columns = view->cols < RESIDUAL_COLUMNS_MAX ? view->cols : RESIDUAL_COLUMNS_MAX;
    struct residual *elements;
    enum err e = columns_reserve(states, columns, info);
    if (e == ERR_OK)
        e = residual_of(states, states_profile(plan, view->type), &elements, info);
    if (e != ERR_OK)
        return e;
    residual_begin(elements, predict_numbers(plan, view->type), states->columns, columns, view->kernel);
    *ret_elements = elements;
    return ERR_OK;
}

enum err states_begin_factors(struct states *states, unsigned factors, struct residual **ret_factors,
                              struct err_info *info)
{
    struct residual *residual;
    enum err e = residual_of(states, PROFILE_FACTORS, &residual, info);
    if (e != ERR_OK)
        return e;
    residual_begin(residual, (struct residual_numbers){.width = 32}, states->factor_columns, factors, 1);
    *ret_factors = residual;
    return ERR_OK;
}

void states_reset(struct states *states)
{
    for (int i = 0; i < PROFILE_COUNT; i++) {
        if (states->residuals[i] != NULL)
            states->memory -= residual_size(states->effort);
        residual_free(states->residuals[i]);
        states->residuals[i] = NULL;
    }
    states->memory -= states->column_room * sizeof(struct column);
    free(states->columns);
    states->columns = NULL;
    states->column_room = 0;
}
