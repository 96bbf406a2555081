/* The coder of `fast`: every decision has one counter. */

#include "common/delta/residual_model.h"

enum { RELATIONS = 32, SHARES = 256, HINTS = RESIDUAL_HINT_MAX + 1, LENGTHS = 16 };
enum { LEAST = 32 << (COUNTER_BITS - RANGE_PROBABILITY_BITS) /* probability that a counter keeps for either side */ };

struct model {
    struct {
        struct counter zero[16 * 16 * 64];
        struct counter length[SCALES * 4][TREE];
        struct counter sign[16 * 16];
        struct counter hinted_sign[HINTS];
        struct counter hinted_length[LENGTHS * 8][TREE];
        struct counter mantissa[4 * 8][4];
        struct counter wide[16][2];
        struct counter wide_exponent[RELATIONS * 8][TREE];
        struct counter wide_mantissa[TREE * 2][4];
    } counters;
    struct rates rates;
    uint8_t often_class[SHARES]; /* of the upper eight bits of a share: half of share_class() */
    struct counter *at;          /* of the decisions that come next */
};

ALWAYS_INLINE bool counter_decide(struct counter *counter, const struct rates *rates, struct lane *lane, bool encode,
                                  bool bit)
{
    bit = lane_code(lane, encode, bit, counter->state >> 16);
    counter_learn(counter, rates, bit, COUNTER_RATE_FAST, LEAST);
    return bit;
}

ALWAYS_INLINE bool model_decide(struct model *model, struct lane *lane, bool encode, bool bit, unsigned node)
{
    return counter_decide(&model->at[node], &model->rates, lane, encode, bit);
}

ALWAYS_INLINE void model_zero(struct model *model, const struct place *place)
{
    const int size = place->hinted && !place->is_float ? place->hint : clamp(place->scale, 0, 63);
    model->at = &model->counters.zero[((place->row_often >> 1) * 16 + (place->column_often >> 1)) * 64 + size];
}

ALWAYS_INLINE void model_lengths(struct model *model, const struct place *place)
{
    model->at = model->counters.length[place->scale * 4 + (place->column_often >> 3)];
}

ALWAYS_INLINE void model_sign(struct model *model, const struct place *place, unsigned length)
{
    (void)length;
    if (place->hinted)
        model->at = &model->counters.hinted_sign[place->hint];
    else
        model->at = &model->counters.sign[place->row_drift * 16 + place->column_drift];
}

ALWAYS_INLINE void model_mantissa(struct model *model, const struct place *place, unsigned length)
{
    /* near the top of the distribution the larger ones are rarer */
    const int over = clamp((int)length * 2 - (place->scale - 6) + 2, 0, 7);
    model->at = model->counters.mantissa[(length < 3 ? length : 3) * 8 + (unsigned)over];
}

ALWAYS_INLINE void model_wide(struct model *model, const struct place *place)
{
    model->at = model->counters.wide[place->row_zeros * 4 + place->column_zeros];
}

ALWAYS_INLINE unsigned relation_of(const struct place *place)
{
    return (unsigned)clamp((place->relation + 16) >> 2, 0, RELATIONS - 1);
}

ALWAYS_INLINE void model_wide_exponents(struct model *model, const struct place *place, bool flip)
{
    model->at =
        model->counters.wide_exponent[relation_of(place) * 8 + flip * 4U + ((unsigned)place->expected >> 1 & 3)];
}

ALWAYS_INLINE void model_wide_mantissa(struct model *model, const struct place *place, bool flip, unsigned exponent)
{
    (void)place;
    model->at = model->counters.wide_mantissa[exponent * 2 + flip];
}

#include "common/delta/residual_line.h"

/* ---- integers with hints ---- */

/* Integers with hints are mostly as predicted, and what their neighbours were hardly matters beside the hint: only how
 * often there is a residual, and how long those are, is remembered. */

/* How long the residuals are: a mean, in 1/16 bits. */
ALWAYS_INLINE int length_learn(int mean, unsigned length)
{
    const int target = (int)(length < 31 ? length : 31) * 16;
    return mean + (target - mean + (target > mean ? 3 : 0)) / 4;
}

/* Bits of a magnitude, 1 … 64: one decision after the other, because they are few. */
ALWAYS_INLINE unsigned hinted_length_code(struct model *model, struct lane *lane, bool encode, uint64_t magnitude,
                                          struct counter *contexts)
{
    const unsigned given = encode ? 64 - (unsigned)__builtin_clzll(magnitude) : 0;
    unsigned length = 1;
    while (length < TREE && counter_decide(&contexts[length - 1], &model->rates, lane, encode, given > length))
        length++;
    return length < TREE ? length : TREE + (unsigned)bits_code(lane, encode, given - TREE, 6);
}

/* A residual that is not 0. Returns the number. */
ALWAYS_INLINE int64_t hinted_some_code(struct residual *r, struct lane *lane, bool encode, unsigned hint,
                                       struct row *row, struct column *column, int64_t predicted, int64_t residual)
{
    struct model *model = r->model;
    const bool negative = residual < 0;
    const uint64_t magnitude = negative ? 0 - (uint64_t)residual : (uint64_t)residual;
    const int expected = (row->level + column->last) >> 4; /* half bits */
    const int context = clamp(expected, 0, LENGTHS - 1) * 8 + (int)(hint >> 3);
    const unsigned length = hinted_length_code(model, lane, encode, magnitude, model->counters.hinted_length[context]);
    row->level = length_learn(row->level, length);
    column->last = (int16_t)length_learn(column->last, length);
    const bool down = counter_decide(&model->counters.hinted_sign[hint], &model->rates, lane, encode, negative);
    const int over = clamp((int)length * 2 - expected + 2, 0, 7);
    model->at = model->counters.mantissa[(length < 3 ? length : 3) * 8 + (unsigned)over];
    const uint64_t size = size_code(model, lane, encode, magnitude, length);
    const unsigned unused = 64 - r->numbers.width; /* corrupt input may leave the type's range */
    return (int64_t)(((uint64_t)predicted + (down ? 0 - size : size)) << unused) >> unused;
}

ALWAYS_INLINE int often_learnt(int often, int seen, bool some)
{
    return often + (((some ? 65535 : 0) - often) * often_steps[seen] >> 12);
}

/* What an element leaves behind: how often there is a residual, here, in the row and in the column. */
ALWAYS_INLINE void hinted_learn(struct model *model, struct counter *counter, struct row *row, struct column *column,
                                bool some)
{
    counter_learn(counter, &model->rates, some, COUNTER_RATE_FAST, LEAST);
    column->often = (uint16_t)often_learnt(column->often, column->seen, some);
    column->seen = (uint8_t)(column->seen + (column->seen < OFTEN_SEEN_MAX));
    row->often = often_learnt(row->often, row->seen, some);
    row->seen += row->seen < OFTEN_SEEN_MAX;
}

ALWAYS_INLINE void hinted_code(struct residual *r, struct lane *lane, bool encode, const struct residual_line *line)
{
    struct model *model = r->model;
    struct row row = r->row;
    if (line->column == 0)
        row = (struct row){.level = row.level == LEVEL_UNSEEN ? 16 : row.level, .often = row.often, .seen = 3};
    struct column *column = &r->columns[line->column % RESIDUAL_COLUMNS_MAX];
    struct column *const end = &r->columns[RESIDUAL_COLUMNS_MAX];
    for (size_t j = 0; j < line->count; j++) {
        if (column->seen == 0)
            *column = (struct column){.often = (uint16_t)row.often, .last = 16, .seen = 1};
        const unsigned hint = line->hint[j];
        const unsigned class = model->often_class[row.often >> 8] * 16U + model->often_class[column->often >> 8];
        struct counter *counter = &model->counters.zero[class * HINTS + hint];
        int64_t value = line->predicted[j];
        const int64_t residual = encode ? (int64_t)((uint64_t)line->value[j] - (uint64_t)value) : 0;
        /* the two ways are apart, so that what follows need not wait for the decision */
        if (!lane_code_rare(lane, encode, residual != 0, counter->state >> 16)) {
            hinted_learn(model, counter, &row, column, false);
        } else {
            hinted_learn(model, counter, &row, column, true);
            value = hinted_some_code(r, lane, encode, hint, &row, column, value, residual);
        }
        if (!encode)
            line->value[j] = value;
        column = column + 1 < end ? column + 1 : r->columns;
    }
    r->row = row;
}

/* The coder's state is copied, so that the compiler keeps it in registers. */
static void fast_encode(struct residual *r, struct range_encoder *encoder, const struct residual_line *line)
{
    struct range_encoder local = *encoder;
    if (r->numbers.mantissa == 0 && line->hint != NULL)
        hinted_code(r, &(struct lane){.encoder = &local}, true, line);
    else
        line_code(r, &(struct lane){.encoder = &local}, true, line);
    *encoder = local;
}

static void fast_decode(struct residual *r, struct range_decoder *decoder, const struct residual_line *line)
{
    struct range_decoder local = *decoder;
    if (r->numbers.mantissa == 0 && line->hint != NULL)
        hinted_code(r, &(struct lane){.decoder = &local}, false, line);
    else
        line_code(r, &(struct lane){.decoder = &local}, false, line);
    *decoder = local;
}

static void model_init(struct model *model)
{
    counters_init((struct counter *)&model->counters, sizeof model->counters / sizeof(struct counter));
    rates_init(&model->rates);
    for (int i = 0; i < SHARES; i++)
        model->often_class[i] = (uint8_t)(share_class(i << 8) >> 1);
}

const struct residual_coder residual_coder_fast = {sizeof(struct model), model_init, fast_encode, fast_decode};
