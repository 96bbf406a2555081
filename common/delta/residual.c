#include "common/delta/residual.h"

#include "common/delta/residual_model.h"

#include <stdlib.h>

static const struct residual_coder *coder_of(enum delta_effort effort)
{
    return effort == DELTA_BEST ? &residual_coder_best : &residual_coder_fast;
}

size_t residual_size(enum delta_effort effort)
{
    return sizeof(struct residual) + coder_of(effort)->model_size;
}

struct residual *residual_new(enum delta_effort effort)
{
    struct residual *r = malloc(sizeof *r);
    if (r == NULL)
        return NULL;
    *r = (struct residual){.coder = coder_of(effort), .model = malloc(coder_of(effort)->model_size)};
    if (r->model == NULL) {
        free(r);
        return NULL;
    }
    r->coder->model_init(r->model);
    return r;
}

void residual_free(struct residual *residual)
{
    if (residual != NULL)
        free(residual->model);
    free(residual);
}

void residual_begin(struct residual *residual, struct residual_numbers numbers, struct column *columns, size_t count,
                    unsigned kernel)
{
    residual->numbers = numbers;
    residual->columns = columns;
    residual->column_count = count < RESIDUAL_COLUMNS_MAX ? count : RESIDUAL_COLUMNS_MAX;
    residual->kernel = kernel;
    residual->depth = numbers.width <= 16 ? 4 : 5;
    residual->laps = 0;
    residual->row = (struct row){.level = LEVEL_UNSEEN, .often = 32768};
    for (size_t j = 0; j < residual->column_count; j++)
        columns[j] = (struct column){.level = LEVEL_UNSEEN};
}

void residual_encode(struct residual *residual, struct range_encoder *coder, const struct residual_line *line)
{
    residual->coder->encode(residual, coder, line);
}

void residual_decode(struct residual *residual, struct range_decoder *coder, const struct residual_line *line)
{
    residual->coder->decode(residual, coder, line);
}
