/* The coder of `fast`: every decision has one counter. */

#include "common/delta/residual_model.h"

enum { RELATIONS = 32 };

struct model {
    struct {
        struct counter zero[16 * 16 * 64];
        struct counter length[SCALES * 4][TREE];
        struct counter sign[16 * 16];
        struct counter hinted_sign[RESIDUAL_HINT_MAX + 1];
        struct counter mantissa[4 * 8][4];
        struct counter wide[16][2];
        struct counter wide_exponent[RELATIONS * 8][TREE];
        struct counter wide_mantissa[TREE * 2][4];
    } counters;
    struct rates rates;
    struct counter *at; /* of the decisions that come next */
};

ALWAYS_INLINE bool model_decide(struct model *model, struct lane *lane, bool encode, bool bit, unsigned node)
{
    struct counter *counter = &model->at[node];
    const uint32_t one = counter->state >> 16;
    bit = lane_code(lane, encode, bit, one < 32 ? 32 : one > 65503 ? 65503 : one);
    counter_learn(counter, &model->rates, bit, COUNTER_RATE_FAST);
    return bit;
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

static void model_init(struct model *model)
{
    counters_init((struct counter *)&model->counters, sizeof model->counters / sizeof(struct counter));
    rates_init(&model->rates);
}

const struct residual_coder residual_coder_fast = {sizeof(struct model), model_init, line_encode, line_decode};
