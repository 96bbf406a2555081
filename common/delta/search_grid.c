/* An update that was published on a grid: every number is the old one and a multiple of 2^exponent, rounded. */

#include "common/delta/search.h"

#include <math.h>
#include <stdlib.h>

enum { CHANGED_MAX = RESIDUAL_LINE_MAX, GRID_LOWEST = -60 };

/* Elements of the sample that changed, as ordered integers. */
static size_t changed_take(const struct search *search, int64_t *ret_old, int64_t *ret_new)
{
    const struct tensor_data *data = &search->sample.data;
    const size_t size = tensor_type_size(data->view.type);
    const uint64_t total = data->view.rows * data->view.cols, step = total / ((uint64_t)CHANGED_MAX * 4) + 1;
    size_t count = 0;
    for (uint64_t i = 0; i < total && count < CHANGED_MAX; i += step)
        if (memcmp(data->old + i * size, data->new + i *size, size) != 0) {
            numbers_load(data->view.type, data->old + i * size, 1, &ret_old[count]);
            numbers_load(data->view.type, data->new + i *size, 1, &ret_new[count]);
            count++;
        }
    return count;
}

struct grid_memory {
    struct predict_scratch scratch;
    int64_t old[CHANGED_MAX], new[CHANGED_MAX], steps[CHANGED_MAX];
};

/* Whether the whole tensor is on the grid. */
static bool grid_check(const struct tensor_data *data, const struct plan *plan, struct grid_memory *memory)
{
    const size_t size = tensor_type_size(data->view.type);
    const uint64_t total = data->view.rows * data->view.cols;
    for (uint64_t i = 0; i < total; i += CHANGED_MAX) {
        const size_t count = total - i < CHANGED_MAX ? (size_t)(total - i) : CHANGED_MAX;
        numbers_load(data->view.type, data->old + i * size, count, memory->old);
        numbers_load(data->view.type, data->new + i *size, count, memory->new);
        if (!predict_target(plan, data->view.type, count, memory->old, memory->new, &memory->scratch, memory->steps))
            return false;
    }
    return true;
}

/* Below the distance between the numbers themselves a grid says nothing. */
static int exponent_last(enum tensor_type type, const int64_t *numbers, size_t count)
{
    const struct residual_numbers format = numbers_of(type);
    int64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (int64_t)((uint64_t)(numbers[i] ^ (numbers[i] >> 63)) >> format.mantissa);
    const int ulp = (int)(sum / (int64_t)count) - format.bias - (int)format.mantissa;
    return ulp > GRID_LOWEST ? ulp : GRID_LOWEST;
}

/* The exponent to begin with: that of the largest update. */
static int exponent_first(const struct tensor_data *data, size_t count, struct grid_memory *memory)
{
    double largest = 0;
    numbers_values(data->view.type, memory->old, count, memory->scratch.values);
    numbers_values(data->view.type, memory->new, count, memory->scratch.update);
    for (size_t i = 0; i < count; i++)
        if (fabs(memory->scratch.update[i] - memory->scratch.values[i]) > largest)
            largest = fabs(memory->scratch.update[i] - memory->scratch.values[i]);
    int exponent = 0;
    return largest > 0 && largest < 1e30 && frexp(largest, &exponent) > 0 ? exponent : GRID_LOWEST;
}

bool search_grid(const struct search *search, struct plan *plan)
{
    struct grid_memory *memory = malloc(sizeof *memory);
    if (memory == NULL)
        return false;
    const struct tensor_data *data = search->data;
    struct plan tried = {.base = BASE_GRID};
    const size_t count = changed_take(search, memory->old, memory->new);
    bool found = false;
    if (count == 0) {
        free(memory);
        return false;
    }
    const size_t few = count < 32 ? count : 32;
    const int last = exponent_last(data->view.type, memory->old, count);
    const int64_t *old = memory->old, *new = memory->new;
    for (int exponent = exponent_first(data, count, memory); exponent >= last && !found; exponent--) {
        tried.grid_exponent = exponent;
        found = predict_target(&tried, data->view.type, few, old, new, &memory->scratch, memory->steps) &&
                predict_target(&tried, data->view.type, count, old, new, &memory->scratch, memory->steps) &&
                grid_check(data, &tried, memory);
        if (!found) /* the check may have used the memory */
            (void)changed_take(search, memory->old, memory->new);
    }
    if (found)
        *plan = tried;
    free(memory);
    return found;
}
