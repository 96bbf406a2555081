#pragma once
/* Elements of a row that are coded together at `fast`: all contexts of a batch come from what was before it, and all is
 * learnt behind it, so that both are done for several elements at once. Internal to residual_fast.c. */

#include "common/delta/residual_model.h"

enum { BATCH = 8, HINTED_BATCH = 16, BATCH_MAX = 16 };

/* What is remembered of the columns, an array of each. */
struct columns {
    uint16_t *often; /* share of residuals that are not 0, in 1/65536 */
    int16_t
        *level;    /* logarithm of what residuals in this column are like; with hints: their mean length in 1/16 bits */
    int16_t *last; /* logarithm of the last one */
    int16_t *drift; /* to which side the column moves */
    int16_t *zeros; /* how many above were as predicted */
};

_Static_assert(sizeof(struct column) == 5 * sizeof(int16_t), "the arrays fit into the memory of columns");

struct batch {
    struct columns columns; /* from the first element on */
    const int64_t *predicted;
    int64_t *value;
    const uint8_t *hint;
    size_t count;             /* 1 … BATCH_MAX */
    unsigned somes;           /* elements with a residual so far */
    uint16_t some[BATCH_MAX]; /* all bits are set where there is one */
};

ALWAYS_INLINE struct columns columns_from(const struct residual *r, size_t at)
{
    const size_t count = r->column_count;
    int16_t *memory = (int16_t *)r->columns;
    return (struct columns){.often = (uint16_t *)memory + at,
                            .level = memory + count + at,
                            .last = memory + 2 * count + at,
                            .drift = memory + 3 * count + at,
                            .zeros = memory + 4 * count + at};
}

/* Columns that were not seen before are like the row. */
ALWAYS_INLINE void columns_first(const struct columns *columns, size_t count, const struct row *row)
{
    for (size_t j = 0; j < count; j++) {
        columns->often[j] = (uint16_t)row->often;
        columns->level[j] = columns->last[j] = (int16_t)row->level;
        columns->drift[j] = columns->zeros[j] = 0;
    }
}

/* A share moves by step/65536 of the way to what was seen: 0 or 65535. */
ALWAYS_INLINE uint16_t share_moved(uint16_t share, uint16_t seen, uint32_t step)
{
    const uint16_t away = share ^ seen;
    return (uint16_t)((away - (away * step >> 16)) ^ seen);
}

/* How often there is a residual, in the columns and in the row. count: of the batch; known to the compiler where it can
 * be, here and below. */
ALWAYS_INLINE void often_batch_learn(struct residual *r, const struct batch *batch, size_t count)
{
    enum { SEEN_FIRST = 4, SEEN_MAX = 37 };
    struct row *row = &r->row;
    const uint32_t step = (uint32_t)often_steps[r->laps] << 4;
    for (size_t j = 0; j < count; j++)
        batch->columns.often[j] = share_moved(batch->columns.often[j], batch->some[j], step);
    const int all = row->seen + SEEN_FIRST + (int)count;
    row->often += ((int)batch->somes * 65535 - row->often * (int)count) / all;
    row->seen = all < SEEN_MAX ? all - SEEN_FIRST : SEEN_MAX - SEEN_FIRST;
}
