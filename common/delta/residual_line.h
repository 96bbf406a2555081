/* The loop over a line for `best`. Whoever includes this says, besides what residual_parts.h wants, in which contexts
 * it codes what: model_zero(model, place)                   one decision: whether there is a residual
 *   model_lengths(model, place)                a tree: its bit length
 *   model_sign(model, place, length)           one decision
 *   model_mantissa(model, place, length)       two decisions, counters 1 … 3 */

#include "common/delta/residual_parts.h"

/* How many bits a magnitude has, 1 … 64; the contexts are set. */
ALWAYS_INLINE unsigned length_code(struct residual *r, struct lane *lane, bool encode, uint64_t magnitude)
{
    const unsigned length = encode ? 64 - (unsigned)__builtin_clzll(magnitude) : 0;
    const unsigned longest = (1U << r->depth) - 1; /* and all that are longer */
    const unsigned symbol = tree_code(r->model, lane, encode, length < longest ? length - 1 : longest - 1, r->depth);
    if (symbol < longest - 1)
        return symbol + 1;
    return 1 + (unsigned)bits_code(lane, encode, length - 1, 6);
}

/* A residual that is small beside the number. Returns the number. */
ALWAYS_INLINE int64_t near_code(struct residual *r, struct lane *lane, bool encode, const struct place *place,
                                int64_t predicted, int64_t value)
{
    struct model *model = r->model;
    const uint64_t residual = (uint64_t)value - (uint64_t)predicted;
    const bool negative = residual >> 63;
    const uint64_t magnitude = negative ? 0 - residual : residual;
    model_zero(model, place);
    if (!model_decide(model, lane, encode, magnitude != 0, 0))
        return predicted;
    model_lengths(model, place);
    const unsigned length = length_code(r, lane, encode, magnitude);
    model_sign(model, place, length);
    const bool down = model_decide(model, lane, encode, negative, 0);
    model_mantissa(model, place, length);
    const uint64_t size = size_code(model, lane, encode, magnitude, length);
    return (int64_t)((uint64_t)predicted + (down ? 0 - size : size));
}

ALWAYS_INLINE void place_find(struct residual *r, const struct residual_line *line, size_t j, struct place *place)
{
    const struct row *row = &r->row;
    const size_t at = (line->column + j) % RESIDUAL_COLUMNS_MAX;
    struct column *column = &r->columns[at];
    const int64_t predicted = line->predicted[j];
    place->column = column;
    place->hint = line->hint != NULL ? line->hint[j] : 0;
    place->magnitude = place->hint;
    if (r->numbers.mantissa != 0)
        place->magnitude =
            clamp(r->numbers.bias + 2 - (int)(magnitude_of(predicted) >> r->numbers.mantissa), 0, RESIDUAL_HINT_MAX);
    place->ulp = ulp_of(r->numbers, predicted);
    const bool seen = column->level != LEVEL_UNSEEN;
    place->row_level = row->level;
    place->left = (row->left + row->left2) >> 1;
    place->sign = row->sign;
    place->sign2 = row->sign2;
    place->level = seen ? column->level : row->level;
    place->up = seen ? column->last : row->level;
    place->phase = (unsigned)(at % r->kernel);
    place->near = at >= r->kernel ? r->columns[at - r->kernel].last : place->level;
    place->expected = (2 * row->level + 2 * place->level + row->left + place->up + 2 * place->near) >> 3;
    const int above = place->expected - place->ulp;
    place->relation = above - LOG_STEPS * (int)r->numbers.mantissa;
    place->scale = scale_of(above);
    place->wide = is_wide(r->numbers, place->relation);
    place->row_often = share_class(row->often);
    place->row_lately = share_class(row->lately);
    place->column_often = share_class(seen ? column->often : row->often);
    const struct column *right = &r->columns[at + 1 < r->column_count ? at + 1 : at];
    place->around = (row->sign != 0) | (row->sign2 != 0) << 1 | (column->sign != 0) << 2 | (right->sign != 0) << 3 |
                    (at >= r->kernel && r->columns[at - r->kernel].sign != 0) << 4 | row->above_left << 5;
    place->row_zeros = row_zeros_class(row->zeros);
    place->column_zeros = column_zeros_class(column->zeros);
    place->row_drift = row_drift_class(row->drift);
    place->column_drift = column_drift_class(column->drift);
}

ALWAYS_INLINE void often_learn(struct residual *r, const struct place *place, bool some)
{
    struct row *row = &r->row;
    struct column *column = place->column;
    const int target = some ? 65535 : 0;
    if (column->level == LEVEL_UNSEEN) {
        column->often = (uint16_t)row->often;
        column->seen = 1;
    }
    column->often = (uint16_t)(column->often + (target - column->often) * often_steps[column->seen] / 4096);
    column->seen = (uint8_t)(column->seen + (column->seen < OFTEN_SEEN_MAX));
    row->often += (target - row->often) * often_steps[row->seen] / 4096;
    row->seen += row->seen < OFTEN_SEEN_MAX;
    row->lately += (target - row->lately) >> 4;
}

/* Remembers what became of an element. */
ALWAYS_INLINE void place_learn(struct residual *r, const struct place *place, int64_t predicted, int64_t value)
{
    struct row *row = &r->row;
    struct column *column = place->column;
    int log;
    row->sign2 = row->sign;
    row->above_left = column->sign != 0;
    often_learn(r, place, value != predicted);
    if (value == predicted) {
        log = place->ulp - LOG_STEPS < place->level ? place->ulp - LOG_STEPS : place->level;
        row->sign = 0;
        row->zeros++;
        column->zeros = (int8_t)(column->zeros + (column->zeros < 100));
        column->drift = (int8_t)(column->drift - (column->drift >> 2));
        column->sign = 0;
    } else {
        log = log_of(value_of(r->numbers, value) - value_of(r->numbers, predicted));
        const int sign = value < predicted ? -1 : 1;
        row->sign = sign;
        row->zeros = 0;
        row->drift += sign * 16 - (row->drift >> 3);
        column->zeros = 0;
        column->drift = (int8_t)(column->drift + ((sign * 32 - column->drift) >> 2));
        column->sign = (int8_t)sign;
    }
    row->left2 = row->left;
    row->left = log;
    row->level += (log - row->level + (log > row->level ? 8 : -8)) / 12;
    column->level = (int16_t)(place->level + (log - place->level + (log > place->level ? 2 : -2)) / 4);
    column->last = (int16_t)log;
}

static void row_begin(struct residual *r, int64_t predicted)
{
    const int level = r->row.level;
    const size_t count = r->column_count < 64 ? r->column_count : 64;
    int sum = r->columns[0].level; /* a row has at least one */
    for (size_t j = 1; j < count; j++)
        sum += r->columns[j].level;
    /* how often: for a start as in the row before */
    r->row = (struct row){.level = sum / (int)count, .often = r->row.often, .lately = r->row.often, .seen = 3};
    if (r->columns[0].level != LEVEL_UNSEEN && r->columns[count - 1].level != LEVEL_UNSEEN)
        ; /* the columns say it */
    else if (level != LEVEL_UNSEEN)
        r->row.level = level;
    else
        r->row.level = level_first(r->numbers, predicted);
    r->row.left = r->row.left2 = r->row.level;
}

ALWAYS_INLINE void line_code(struct residual *r, struct lane *lane, bool encode, const struct residual_line *line)
{
    if (line->column == 0)
        row_begin(r, line->predicted[0]);
    const unsigned unused = 64 - r->numbers.width;
    for (size_t j = 0; j < line->count; j++) {
        struct place place;
        const int64_t predicted = line->predicted[j];
        place_find(r, line, j, &place);
        const int64_t given = encode ? line->value[j] : 0;
        int64_t value;
        if (place.wide)
            value = wide_code(r, lane, encode, &place, predicted, given);
        else
            value = near_code(r, lane, encode, &place, predicted, given);
        if (!encode) {
            value = (int64_t)((uint64_t)value << unused) >> unused; /* corrupt input may leave the type's range */
            line->value[j] = value;
        }
        place_learn(r, &place, predicted, value);
    }
}
