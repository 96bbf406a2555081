/* The coder of `fast`: every decision and every symbol has one context. */

#include "common/delta/residual_model.h"
#include "common/delta/symbols.h"

enum {
    RELATIONS = 32,
    SHARES = 256,
    HINTS = RESIDUAL_HINT_MAX + 1,
    LENGTHS = 16,
    LEARN_SLOWEST = 7 /* of symbols */
};
enum { LEAST = 32 << (COUNTER_BITS - RANGE_PROBABILITY_BITS) /* probability that a counter keeps for either side */ };

struct model {
    struct {
        struct counter zero[16 * 16 * 64];
        struct counter sign[16 * 16];
        struct counter hinted_sign[HINTS];
        struct counter hinted_length[LENGTHS * 8][TREE];
        struct counter mantissa[4 * 8][4];
        struct counter wide[16][2];
        struct counter wide_mantissa[TREE * 2][4];
    } counters;
    struct {
        struct symbols_many half_octaves[SCALES * 4], below[SCALES / 4], above[SCALES / 4];
        struct symbols_many wide_exponents[RELATIONS * 8];
    } symbols;
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

/* One of SYMBOLS_MANY. */
ALWAYS_INLINE unsigned symbol_code(struct symbols_many *table, struct lane *lane, bool encode, unsigned symbol)
{
    symbols_lanes *lanes = table->lanes;
    if (!encode)
        symbol = symbols_find(lanes, SYMBOLS_MANY, range_decode_place(lane->decoder, SYMBOLS_BITS));
    const uint32_t from = symbols_from(lanes, symbol), to = symbols_to(lanes, SYMBOLS_MANY, symbol);
    if (encode)
        range_encode_part(lane->encoder, from, to, SYMBOLS_BITS);
    else
        range_decode_part(lane->decoder, from, to, SYMBOLS_BITS);
    symbols_learn(lanes, SYMBOLS_MANY, symbol, 1, LEARN_SLOWEST);
    return symbol;
}

ALWAYS_INLINE void model_wide(struct model *model, const struct place *place)
{
    model->at = model->counters.wide[place->row_zeros * 4 + place->column_zeros];
}

ALWAYS_INLINE unsigned model_wide_exponent(struct model *model, struct lane *lane, bool encode,
                                           const struct place *place, bool flip, unsigned symbol)
{
    const int relation = clamp((place->relation + 16) >> 2, 0, RELATIONS - 1);
    const int context = relation * 8 + flip * 4 + (place->expected >> 1 & 3);
    return symbol_code(&model->symbols.wide_exponents[context], lane, encode, symbol);
}

ALWAYS_INLINE void model_wide_mantissa(struct model *model, const struct place *place, bool flip, unsigned exponent)
{
    (void)place;
    model->at = model->counters.wide_mantissa[exponent * 2 + flip];
}

#include "common/delta/residual_hinted.h"
#include "common/delta/residual_near.h"

static bool is_hinted(const struct residual *r, const struct residual_line *line)
{
    return r->numbers.mantissa == 0 && line->hint != NULL;
}

ALWAYS_INLINE void fast_code(struct residual *r, struct lane *lane, bool encode, const struct residual_line *line,
                             bool hinted)
{
    const size_t column = line->column % RESIDUAL_COLUMNS_MAX, most = hinted ? HINTED_BATCH : BATCH;
    if (line->column == 0 && hinted)
        hinted_row_begin(r);
    else if (line->column == 0)
        near_row_begin(r, line->predicted[0]);
    r->laps += column == 0 && r->laps < OFTEN_SEEN_MAX;
    if (!encode)
        memcpy(line->value, line->predicted, line->count * sizeof *line->value);
    for (size_t j = 0; j < line->count; j += most) {
        const size_t left = line->count - j;
        struct batch batch = {.columns = columns_from(r, column + j),
                              .predicted = line->predicted + j,
                              .value = line->value + j,
                              .hint = line->hint == NULL ? NULL : line->hint + j,
                              .count = left < most ? left : most};
        if (r->laps == 1)
            columns_first(&batch.columns, batch.count, &r->row);
        if (hinted)
            hinted_batch_code(r, lane, encode, &batch);
        else
            near_batch_code(r, lane, encode, &batch, column + j);
    }
}

/* The coder's state is copied, so that the compiler keeps it in registers. */
static void fast_encode(struct residual *r, struct range_encoder *encoder, const struct residual_line *line)
{
    struct range_encoder local = *encoder;
    if (is_hinted(r, line))
        fast_code(r, &(struct lane){.encoder = &local}, true, line, true);
    else
        fast_code(r, &(struct lane){.encoder = &local}, true, line, false);
    *encoder = local;
}

static void fast_decode(struct residual *r, struct range_decoder *decoder, const struct residual_line *line)
{
    struct range_decoder local = *decoder;
    if (is_hinted(r, line))
        fast_code(r, &(struct lane){.decoder = &local}, false, line, true);
    else
        fast_code(r, &(struct lane){.decoder = &local}, false, line, false);
    *decoder = local;
}

static void model_init(struct model *model)
{
    counters_init((struct counter *)&model->counters, sizeof model->counters / sizeof(struct counter));
    symbols_start((symbols_lanes *)&model->symbols, SYMBOLS_MANY, sizeof model->symbols / sizeof(struct symbols_many));
    rates_init(&model->rates);
    for (int i = 0; i < SHARES; i++)
        model->often_class[i] = (uint8_t)(share_class(i << 8) >> 1);
}

const struct residual_coder residual_coder_fast = {sizeof(struct model), model_init, fast_encode, fast_decode};
