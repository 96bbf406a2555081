/* The coder of `best`: every decision is predicted in several contexts, and the predictions are mixed by weights that
 * follow what was right (logistic mixing). Floats, but only + - * in a fixed order: the same on every machine. */

#include "common/delta/logistic.h"
#include "common/delta/residual_model.h"

enum { INPUTS = 12, RELATIONS = 32, STEP_LIMIT = 1000 };

typedef float lanes __attribute__((vector_size(16)));

struct weights {
    lanes part[INPUTS / 4];
};

enum mixer_kind {
    MIX_LENGTH = 0,
    MIX_SIGN = 96,
    MIX_MANTISSA = 128,
    MIX_WIDE = 160,
    MIX_EXPONENT = 176,
    MIX_WIDE_MANTISSA = 208,
    MIX_ZERO = 216,
    MIXERS = 232
};

struct model {
    struct {
        struct counter zero[9][4096];
        struct counter length[8][1024][TREE];
        struct counter sign[5][2048];
        struct counter mantissa[3][512][4];
        struct counter wide[3][256][2];
        struct counter wide_exponent_relation[RELATIONS * 16][TREE];
        struct counter wide_exponent_near[4][256][TREE];
        struct counter wide_mantissa[2][512][4];
    } counters;
    struct weights weights[MIXERS];
    struct rates rates;
    struct logistic logistic;
    /* of the decisions that come next */
    struct counter *at[INPUTS];
    unsigned inputs;
    struct weights *mixer;
    float speed;
};

ALWAYS_INLINE float sum_of(lanes v)
{
    return (v[0] + v[1]) + (v[2] + v[3]);
}

ALWAYS_INLINE bool model_decide(struct model *model, struct lane *lane, bool encode, bool bit, unsigned node)
{
    union {
        lanes part[INPUTS / 4];
        float each[INPUTS];
    } odds = {};
    struct weights *weights = &model->mixer[node];
    for (unsigned i = 0; i < model->inputs; i++)
        odds.each[i] = model->logistic.odds[model->at[i][node].state >> 20];
    const float mixed =
        sum_of(odds.part[0] * weights->part[0] + odds.part[1] * weights->part[1] + odds.part[2] * weights->part[2]);
    const float bounded = mixed > 11.9F ? 11.9F : mixed < -11.9F ? -11.9F : mixed;
    const float one =
        model->logistic.probability[(int)((bounded + LOGISTIC_RANGE) * (LOGISTIC_STEPS / (2 * LOGISTIC_RANGE)))];
    const int scaled = (int)(one * 65536.0F);
    bit = lane_code(lane, encode, bit, (uint32_t)clamp(scaled, 16, 65520));
    const float error = ((bit ? 1.0F : 0.0F) - one) * model->speed;
    for (unsigned i = 0; i < INPUTS / 4; i++)
        weights->part[i] += odds.part[i] * error;
    for (unsigned i = 0; i < model->inputs; i++)
        counter_learn(&model->at[i][node], &model->rates, bit, STEP_LIMIT, 0);
    return bit;
}

ALWAYS_INLINE int over(int log, int ulp, int shift, int states)
{
    return clamp((log - ulp + 24) >> shift, 0, states - 1);
}

ALWAYS_INLINE void model_zero(struct model *model, const struct place *place)
{
    struct counter(*set)[4096] = model->counters.zero;
    const int zeros = place->row_zeros * 4 + place->column_zeros;
    const int fine = clamp(place->expected - place->ulp + 24, 0, 127);
    const int row = place->row_often, column = place->column_often;
    model->at[0] = &set[0][row * 32 + column];
    model->at[1] = &set[1][clamp(place->scale, 0, 63) * 64 + (row >> 2) * 8 + (column >> 2)];
    model->at[2] = &set[2][place->around * 16 + (column >> 1)];
    model->at[3] = &set[3][place->magnitude * 64 + (row >> 2) * 8 + (column >> 2)];
    model->at[4] = &set[4][fine * 16 + zeros];
    model->at[5] = &set[5][place->row_lately * 32 + column];
    model->at[6] = &set[6][(int)(place->phase & 31) * 64 + place->around];
    model->at[7] = &set[7][over(place->near, place->ulp, 2, 32) * 64 + place->magnitude];
    model->at[8] = &set[8][clamp(place->scale, 0, 63) * 64 + place->hint];
    model->inputs = 9;
    model->mixer = &model->weights[MIX_ZERO + (row >> 3) * 4 + (column >> 3)];
    model->speed = 0.004F;
}

ALWAYS_INLINE void model_lengths(struct model *model, const struct place *place)
{
    struct counter(*set)[1024][TREE] = model->counters.length;
    const int zeros = place->row_zeros * 4 + place->column_zeros;
    const int ulp = place->ulp;
    model->at[0] = set[0][clamp(place->scale, 0, 63) * 16 + zeros];
    model->at[1] =
        set[1][clamp(place->expected - ulp + 24, 0, 255) * 4 + (place->row_zeros > 1) * 2 + (place->column_zeros > 1)];
    model->at[2] = set[2][over(place->row_level, ulp, 3, 32) * 32 + over(place->level, ulp, 3, 32)];
    model->at[3] = set[3][over(place->left, ulp, 2, 64) * 16 + zeros];
    model->at[4] = set[4][over((place->up + place->level) >> 1, ulp, 2, 64) * 16 + zeros];
    model->at[5] = set[5][over((place->near + place->level) >> 1, ulp, 3, 32) * 32 + (int)(place->phase & 31)];
    model->at[6] = set[6][clamp(place->scale >> 2, 0, 15) * 64 + place->magnitude];
    model->at[7] = set[7][clamp(place->scale >> 2, 0, 15) * 64 + place->hint];
    model->inputs = 8;
    model->mixer = &model->weights[MIX_LENGTH + 32 * ((place->row_zeros > 1) + (place->column_zeros > 1))];
    model->speed = 0.004F;
}

ALWAYS_INLINE void model_sign(struct model *model, const struct place *place, unsigned length)
{
    struct counter(*set)[2048] = model->counters.sign;
    const int few = (int)(length > 3 ? 3 : length);
    model->at[0] =
        &set[0][((place->sign + 1) * 9 + (place->sign2 + 1) * 3 + place->column->sign + 1) * 16 + place->column_drift];
    model->at[1] = &set[1][place->row_drift * 16 + place->column_drift];
    model->at[2] = &set[2][place->magnitude * 4 + few];
    model->at[3] = &set[3][(place->row_drift * 3 + place->column->sign + 1) * 33 + (int)(length > 32 ? 32 : length)];
    model->at[4] = &set[4][place->hint * 32 + clamp((int)length * 4 - ((place->scale - 6) * 2) + 16, 0, 31)];
    model->inputs = 5;
    model->mixer = model->weights + MIX_SIGN + few;
    model->speed = 0.004F;
}

ALWAYS_INLINE void model_mantissa(struct model *model, const struct place *place, unsigned length)
{
    struct counter(*set)[512][4] = model->counters.mantissa;
    const int few = (int)(length > 3 ? 3 : length);
    model->at[0] = set[0][clamp((int)length, 0, 64)];
    model->at[1] = set[1][clamp((int)length * 8 - (place->expected - place->ulp) + 64, 0, 127) * 4 + few];
    model->at[2] = set[2][place->magnitude * 4 + few];
    model->inputs = 3;
    model->mixer = &model->weights[MIX_MANTISSA + few * 4];
    model->speed = 0.002F;
}

ALWAYS_INLINE void model_wide(struct model *model, const struct place *place)
{
    struct counter(*set)[256][2] = model->counters.wide;
    const int zeros = place->row_zeros * 4 + place->column_zeros;
    const int relation = clamp((place->relation + 16) >> 2, 0, RELATIONS - 1);
    model->at[0] = set[0][zeros];
    model->at[1] = set[1][relation];
    model->at[2] = set[2][place->row_drift * 16 + place->column_drift];
    model->inputs = 3;
    model->mixer = model->weights + MIX_WIDE;
    model->speed = 0.004F;
}

/* depth decisions, at most five; counters 1 … 31. */
ALWAYS_INLINE unsigned tree_code(struct model *model, struct lane *lane, bool encode, unsigned symbol, int depth)
{
    unsigned node = 1;
    for (int bit = depth - 1; bit >= 0; bit--)
        node = node * 2 + model_decide(model, lane, encode, symbol >> bit & 1, node);
    return node - (1U << depth);
}

ALWAYS_INLINE unsigned model_wide_exponent(struct model *model, struct lane *lane, bool encode,
                                           const struct place *place, bool flip, unsigned symbol)
{
    struct counter(*set)[256][TREE] = model->counters.wide_exponent_near;
    const int relation = clamp((place->relation + 16) >> 2, 0, RELATIONS - 1);
    const int part = place->expected & 7;
    const int base = place->expected & ~7;
    model->at[0] = model->counters.wide_exponent_relation[relation * 16 + flip * 8 + part];
    model->at[1] = set[0][clamp((place->row_level - base + 64) >> 1, 0, 63) * 2 + flip];
    model->at[2] = set[1][clamp((place->level - base + 64) >> 1, 0, 63) * 2 + flip];
    model->at[3] = set[2][clamp((place->left - base + 64) >> 2, 0, 31) * 2 + flip];
    model->at[4] = set[3][clamp((place->near - base + 64) >> 2, 0, 31) * 8 + part];
    model->inputs = 5;
    model->mixer = model->weights + MIX_EXPONENT;
    model->speed = 0.003F;
    return tree_code(model, lane, encode, symbol, 5);
}

ALWAYS_INLINE void model_wide_mantissa(struct model *model, const struct place *place, bool flip, unsigned exponent)
{
    struct counter(*set)[512][4] = model->counters.wide_mantissa;
    model->at[0] = set[0][exponent * 2 + flip];
    model->at[1] =
        set[1][clamp((place->relation + 16) >> 2, 0, RELATIONS - 1) * 16 + clamp((int)exponent, 0, 7) * 2 + flip];
    model->inputs = 2;
    model->mixer = model->weights + MIX_WIDE_MANTISSA;
    model->speed = 0.002F;
}

#include "common/delta/residual_line.h"

static void model_init(struct model *model)
{
    counters_init((struct counter *)&model->counters, sizeof model->counters / sizeof(struct counter));
    rates_init(&model->rates);
    logistic_init(&model->logistic);
    for (int i = 0; i < MIXERS; i++)
        for (int part = 0; part < INPUTS / 4; part++)
            model->weights[i].part[part] = (lanes){0.18F, 0.18F, 0.18F, 0.18F};
}

static void best_encode(struct residual *r, struct range_encoder *encoder, const struct residual_line *line)
{
    line_code(r, &(struct lane){.encoder = encoder}, true, line);
}

static void best_decode(struct residual *r, struct range_decoder *decoder, const struct residual_line *line)
{
    line_code(r, &(struct lane){.decoder = decoder}, false, line);
}

const struct residual_coder residual_coder_best = {sizeof(struct model), model_init, best_encode, best_decode};
