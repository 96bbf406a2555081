/* The loops that predict, for every kind of processor that they are compiled for, against loops that take one element
 * after the other and say plainly what it has to be: at random, and where numbers end. */
#include "tensor_kit.h"

#include "common/delta/predict.h"

#include <math.h>

enum { TYPES = TENSOR_I64 + 1, VALUES = 4096 };

/* ---- what has to come out ---- */

static bool plain_special(struct residual_numbers numbers, int64_t ordered)
{
    const uint64_t magnitude = (uint64_t)(ordered < 0 ? -(ordered + 1) : ordered);
    const unsigned exponents = numbers.width - 1 - numbers.mantissa;
    return numbers.mantissa != 0 && magnitude >> numbers.mantissa == (1ULL << exponents) - 1;
}

static double plain_value(enum tensor_type type, int64_t ordered)
{
    const struct residual_numbers numbers = numbers_of(type);
    if (numbers.mantissa == 0)
        return (double)ordered;
    if (plain_special(numbers, ordered))
        return 0;
    const uint64_t magnitude = (uint64_t)(ordered < 0 ? -(ordered + 1) : ordered);
    const uint64_t fraction = magnitude & ((1ULL << numbers.mantissa) - 1);
    const int exponent = (int)(magnitude >> numbers.mantissa);
    const int last = (exponent == 0 ? 1 : exponent) - numbers.bias - (int)numbers.mantissa;
    const double size = ldexp((double)(fraction + (exponent == 0 ? 0 : 1ULL << numbers.mantissa)), last);
    return ordered < 0 ? -size : size;
}

static int64_t plain_round(enum tensor_type type, double value)
{
    const struct residual_numbers numbers = numbers_of(type);
    const int mantissa = (int)numbers.mantissa;
    const double half = ldexp(1, (int)numbers.width - 1);
    if (type == TENSOR_U8)
        return value > 0 ? value < 255 ? (int64_t)rint(value) : 255 : 0;
    if (mantissa == 0)
        return value <= -half                                               ? INT64_MIN >> (64 - numbers.width)
               : value >= half - 1 && (type != TENSOR_I64 || value >= half) ? INT64_MAX >> (64 - numbers.width)
                                                                            : (int64_t)rint(value);
    const int64_t infinity = (int64_t)(((1ULL << (numbers.width - 1 - numbers.mantissa)) - 1) << mantissa);
    int exponent = 0;
    (void)frexp(value, &exponent);
    const int least = 1 - numbers.bias, normal = value != 0 && exponent - 1 > least ? exponent - 1 : least;
    int64_t magnitude = infinity;
    if (isfinite(value) && normal <= numbers.bias) {
        magnitude = (int64_t)rint(ldexp(fabs(value), mantissa - normal)) + ((int64_t)(normal - least) << mantissa);
        magnitude = magnitude < infinity ? magnitude : infinity;
    }
    return signbit(value) ? -magnitude - 1 : magnitude;
}

/* volatile: whatever the compiler may do to this file, the product is rounded before something is added to it. */
static double plain_sum(double a, double b, double to)
{
    volatile double product = a * b;
    return product + to;
}

static double plain_update(const struct plan *plan, const struct plan_row *row, size_t cols, size_t column)
{
    double sum = 0;
    for (unsigned i = 0; i < plan->rank; i++)
        if (row->down[i] != 0)
            sum = plain_sum(row->down[i], (double)plan->across[i * cols + column], sum);
    return sum;
}

static void plain_integer(enum tensor_type type, double exact, const double limits[3], int64_t *ret_predicted,
                          int *ret_hint)
{
    const double nearest = (double)plain_round(type, exact);
    const double side = (exact - nearest + 0.5) * 16;
    *ret_predicted = (int64_t)nearest;
    *ret_hint = (side > 0 ? side < 15 ? (int)side : 15 : 0) * 4 + (fabs(nearest) >= limits[0]) +
                (fabs(nearest) >= limits[1]) + (fabs(nearest) >= limits[2]);
}

static int plain_beside(const struct plan *plan, enum tensor_type type, double exact, int64_t predicted)
{
    const struct residual_numbers numbers = numbers_of(type);
    const double near = plain_value(type, predicted);
    const int least = type == TENSOR_F64 ? 64 - 1023 : 1 - numbers.bias;
    const int exponent = near == 0 || ilogb(near) < least ? least : ilogb(near);
    const double distance = ldexp(1, exponent - (int)numbers.mantissa);
    const double side = ((exact - near) / distance + 0.5) * 16, left = (double)plan->typical / distance;
    return (side > 0 ? side < 15 ? (int)side : 15 : 0) * 4 + (left > 0.125) + (left > 0.5) + (left > 2);
}

/* Returns the hint, -1 for none. */
static int plain_line(const struct plan *plan, const struct plan_row *row, enum tensor_type type, size_t cols,
                      size_t column, int64_t old, int64_t *ret_predicted)
{
    const struct residual_numbers numbers = numbers_of(type);
    const double update = plain_update(plan, row, cols, column);
    double exact = update;
    int hint = -1;
    *ret_predicted = plan->base == BASE_NOTHING || plan->base == BASE_GRID ? 0 : old;
    if (plan->base == BASE_GRID && plan->rank != 0) {
        plain_integer(TENSOR_I32, update, (const double[]){1, 2, 3}, ret_predicted, &hint);
    } else if (plan->base == BASE_GRID) {
        const uint64_t magnitude = (uint64_t)(old < 0 ? -(old + 1) : old);
        const int below = numbers.bias + 2 - (int)(magnitude >> numbers.mantissa);
        hint = below < 0 ? 0 : below > RESIDUAL_HINT_MAX ? RESIDUAL_HINT_MAX : below;
    } else if (plan->base != BASE_NOTHING && (type == TENSOR_I8 || type == TENSOR_U8)) {
        exact = plain_sum((double)old, row->ratio, plan->offset) + update;
        plain_integer(type, exact, (const double[]){8, 32, 127}, ret_predicted, &hint);
    } else if (plan->base != BASE_NOTHING && numbers.mantissa != 0 && !plain_special(numbers, old)) {
        float decayed = (float)plain_value(TENSOR_F32, type == TENSOR_F32 ? old : 0);
        for (uint32_t i = 0; i < plan->decay_steps; i++)
            decayed *= plan->decay;
        if (plan->base == BASE_DECAY)
            *ret_predicted = plain_round(TENSOR_F32, (double)decayed);
        exact = plain_sum(plain_value(type, *ret_predicted), row->scale, update);
        if (plan->row_scale || plan->rank != 0)
            *ret_predicted = plain_round(type, exact);
    }
    if (plan->beside)
        hint = plain_beside(plan, type, exact, *ret_predicted);
    else if (plan->base != BASE_GRID && plan->rank != 0 && numbers.mantissa != 0) {
        const double push = update * (14 / (double)plan->typical);
        hint = 32 + (push < -31 ? -31 : push > 31 ? 31 : (int)push);
    }
    return hint;
}

/* ---- numbers ---- */

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* The least and greatest of a type, ends of its kinds of numbers, and what is around them; then numbers at random. */
static void numbers_fill(enum tensor_type type, uint64_t *seed, size_t count, int64_t *ret_ordered)
{
    const struct residual_numbers numbers = numbers_of(type);
    const int64_t low = type == TENSOR_U8 ? 0 : INT64_MIN >> (64 - numbers.width);
    const int64_t high = type == TENSOR_U8 ? 255 : INT64_MAX >> (64 - numbers.width);
    const int64_t normal = 1LL << numbers.mantissa;
    const int64_t infinity = (int64_t)(((1ULL << (numbers.width - 1 - numbers.mantissa)) - 1) << numbers.mantissa);
    const int64_t ends[] = {
        low, high, 0, normal, -normal, numbers.mantissa == 0 ? 100 : infinity, numbers.mantissa == 0 ? 50 : -infinity};
    for (size_t i = 0; i < count; i++) {
        int64_t number = (int64_t)kit_random(seed) >> (64 - numbers.width + kit_random(seed) % (numbers.width / 2));
        if (i < sizeof ends / sizeof ends[0] * 5)
            number = (int64_t)((uint64_t)ends[i / 5] + (uint64_t)(i % 5) - 2);
        ret_ordered[i] = number < low ? low : number > high ? high : number;
        if (type == TENSOR_U8)
            ret_ordered[i] = number & 255;
    }
}

/* Values around the numbers of a type: they themselves, what lies in the middle between two of them, and just beside.
 */
static void values_fill(enum tensor_type type, uint64_t *seed, size_t count, const int64_t *ordered, double *ret_values)
{
    for (size_t i = 0; i < count; i++) {
        const double value = plain_value(type, ordered[i]);
        const int64_t next = ordered[i] == INT64_MAX >> (64 - numbers_of(type).width) ? 0 : ordered[i] + 1;
        const double other = plain_special(numbers_of(type), next) ? value * 2 : plain_value(type, next);
        const double middle = value / 2 + other / 2;
        switch (kit_random(seed) % 8) {
        case 0:
            ret_values[i] = value;
            break;
        case 1:
        case 2:
            ret_values[i] = middle;
            break;
        case 3:
            ret_values[i] = nextafter(middle, INFINITY);
            break;
        case 4:
            ret_values[i] = nextafter(middle, -INFINITY);
            break;
        case 5:
            ret_values[i] = value * (double)(kit_random(seed) >> 11) * 0x1p-52;
            break;
        case 6:
            ret_values[i] =
                ldexp(1 + (double)(kit_random(seed) >> 12) * 0x1p-52, (int)(kit_random(seed) % 2046) - 1022);
            break;
        default:
            ret_values[i] = kit_random(seed) % 2 == 0 ? INFINITY : -INFINITY;
            break;
        }
    }
}

static void test_numbers(void **state)
{
    (void)state;
    static int64_t ordered[VALUES], again[VALUES];
    static double values[VALUES];
    static uint8_t bytes[VALUES * 8], back[VALUES * 8];
    uint64_t seed = 20;
    for (int t = 0; t < TYPES; t++) {
        const enum tensor_type type = (enum tensor_type)t;
        const size_t size = tensor_type_size(type);
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (uint8_t)(kit_random(&seed) >> 40);
        numbers_load(type, bytes, VALUES, ordered);
        numbers_store(type, ordered, VALUES, back);
        assert_memory_equal(bytes, back, VALUES * size);
        numbers_fill(type, &seed, VALUES, ordered);
        numbers_store(type, ordered, VALUES, back);
        numbers_load(type, back, VALUES, again);
        assert_memory_equal(ordered, again, sizeof ordered);
        numbers_values(type, ordered, VALUES, values);
        for (size_t i = 0; i < VALUES; i++)
            assert_int_equal(bits_of(values[i]), bits_of(plain_value(type, ordered[i])));
        values_fill(type, &seed, VALUES, ordered, values);
        numbers_round(type, values, VALUES, again);
        for (size_t i = 0; i < VALUES; i++)
            assert_int_equal(again[i], plain_round(type, values[i]));
    }
}

/* Each of the numbers of 16 bits is its own nearest, orders like its value, and means what the compiler says. */
static void test_all_of_16_bits(void **state)
{
    (void)state;
    static int64_t ordered[65536], again[65536];
    static double values[65536];
    const enum tensor_type types[] = {TENSOR_F16, TENSOR_BF16};
    for (size_t t = 0; t < 2; t++) {
        const struct residual_numbers numbers = numbers_of(types[t]);
        for (int i = 0; i < 65536; i++)
            ordered[i] = i - 32768;
        numbers_values(types[t], ordered, 65536, values);
        numbers_round(types[t], values, 65536, again);
        for (int i = 1; i < 65536; i++) {
            assert_int_equal(numbers_is_special(numbers, ordered[i]), plain_special(numbers, ordered[i]));
            if (plain_special(numbers, ordered[i]) || plain_special(numbers, ordered[i - 1]))
                continue;
            assert_int_equal(again[i], ordered[i]);
            assert_true(values[i] > values[i - 1] || (values[i] == 0 && values[i - 1] == 0));
        }
        assert_true(values[32768 + numbers.bias * (1 << numbers.mantissa)] == 1);
    }
}

/* ---- lines ---- */

struct lines {
    uint64_t seed;
    struct plan plan;
    struct plan_row row;
    enum tensor_type type;
    size_t cols, column, count;
    float across[PREDICT_RANK_MAX * 64];
    int64_t old[RESIDUAL_LINE_MAX];
};

static double lines_random(struct lines *l)
{
    return (double)(kit_random(&l->seed) >> 11) * 0x1p-52 - 1;
}

/* A plan that such a type may have. */
static void plan_fill(struct lines *l)
{
    const bool floats = numbers_are_floats(l->type), bytes = l->type == TENSOR_I8 || l->type == TENSOR_U8;
    struct plan *plan = &l->plan;
    const uint64_t some = kit_random(&l->seed) >> 20;
    *plan = (struct plan){.base = (enum base)(some % 4), .across = l->across, .typical = (float)ldexp(1, -12)};
    if ((plan->base == BASE_GRID && !floats) || (plan->base == BASE_DECAY && l->type != TENSOR_F32))
        plan->base = BASE_OLD;
    plan->row_scale = floats && plan->base == BASE_OLD && (some & 16) != 0;
    plan->rescaled = bytes && plan->base == BASE_OLD && (some & 32) != 0;
    plan->offset = plan->rescaled ? (double)(int)(some >> 8 & 63) / 16 - 2 : 0;
    plan->grid_exponent = (int)(some >> 16 & 63) - 50;
    plan->decay = 0.9999F;
    plan->decay_steps = plan->base == BASE_DECAY ? (uint32_t)(some >> 24 & 255) : 0;
    plan->scale_exponent = -20;
    if ((floats || bytes) && plan->base != BASE_NOTHING && (some & 64) != 0)
        plan->rank = 1 + (unsigned)(some >> 32) % ((some & 128) != 0 ? 20 : PREDICT_RANK_MAX);
    plan->beside = floats && plan->rank != 0 && plan->base != BASE_GRID && (some >> 40 & 1) != 0;
}

/* Everything at random: updates from nothing to far outside the type's range, and many of them whole or half. */
static void lines_fill(struct lines *l)
{
    plan_fill(l);
    const struct plan *plan = &l->plan;
    l->column = kit_random(&l->seed) % 7;
    l->count = 1 + kit_random(&l->seed) % (plan->rank == 0 ? RESIDUAL_LINE_MAX : 57);
    l->cols = plan->rank == 0 ? 0 : 64;
    numbers_fill(l->type, &l->seed, RESIDUAL_LINE_MAX, l->old);
    l->row = (struct plan_row){.scale = 1, .ratio = plan->rescaled ? 1 + lines_random(l) / 4 : 1};
    if (plan->row_scale)
        l->row.scale += lines_random(l) / 8;
    const int exponent = (int)(kit_random(&l->seed) % 50) - 32;
    for (unsigned i = 0; i < plan->rank; i++) {
        const double factor = rint(lines_random(l) * 300);
        l->row.down[i] = kit_random(&l->seed) % 4 == 0 ? 0 : ldexp(factor, exponent);
    }
    for (size_t i = 0; i < (size_t)plan->rank * 64; i++)
        l->across[i] = (float)rint(lines_random(l) * (i % 3 == 0 ? 4 : 1000));
}

static void line_check(const struct lines *l, const struct predict_code *code)
{
    static struct predict_scratch scratch;
    static int64_t predicted[RESIDUAL_LINE_MAX];
    static uint8_t hint[RESIDUAL_LINE_MAX];
    const bool hinted =
        code->line(&l->plan, &l->row, l->type, l->cols, l->column, l->count, l->old, &scratch, predicted, hint);
    for (size_t j = 0; j < l->count; j++) {
        int64_t wanted = 0;
        const int wanted_hint = plain_line(&l->plan, &l->row, l->type, l->cols, l->column + j, l->old[j], &wanted);
        assert_int_equal(predicted[j], wanted);
        assert_int_equal(hinted ? hint[j] : -1, wanted_hint);
    }
}

static void finish_check(struct lines *l, const struct predict_code *code)
{
    static int64_t steps[RESIDUAL_LINE_MAX], coded[RESIDUAL_LINE_MAX];
    const double unit = ldexp(1, l->plan.grid_exponent);
    for (size_t j = 0; j < l->count; j++)
        steps[j] = j % 3 == 0 ? 0 : (int64_t)kit_random(&l->seed) >> (40 + j % 24);
    memcpy(coded, steps, sizeof steps);
    code->finish(&l->plan, l->type, l->count, l->old, coded);
    for (size_t j = 0; j < l->count; j++) {
        int64_t wanted = steps[j];
        if (l->plan.base == BASE_GRID)
            wanted = steps[j] == 0
                         ? l->old[j]
                         : plain_round(l->type, plain_sum((double)steps[j], unit, plain_value(l->type, l->old[j])));
        assert_int_equal(coded[j], wanted);
    }
}

static void test_lines(void **state)
{
    (void)state;
    static struct lines l = {.seed = 5};
    const struct predict_code *codes;
    const size_t count = predict_codes(&codes);
    assert_true(count >= 1);
    for (int round = 0; round < 4000; round++) {
        l.type = (enum tensor_type)(round % TYPES);
        lines_fill(&l);
        for (size_t i = 0; i < count; i++) {
            line_check(&l, &codes[i]);
            finish_check(&l, &codes[i]);
        }
    }
}

/* What has to be coded leads to the new numbers, and is refused where the grid does not. */
static void test_targets(void **state)
{
    (void)state;
    static int64_t old[VALUES], new[VALUES], coded[VALUES];
    static struct predict_scratch scratch;
    const enum tensor_type types[] = {TENSOR_F32, TENSOR_F16, TENSOR_BF16, TENSOR_F64};
    uint64_t seed = 9;
    for (size_t t = 0; t < 4; t++) {
        const struct plan plan = {.base = BASE_GRID, .grid_exponent = -9};
        numbers_fill(types[t], &seed, VALUES, old);
        for (size_t i = 0; i < VALUES; i++)
            coded[i] = kit_random(&seed) % 2 == 0 ? 0 : (int64_t)(kit_random(&seed) % 100) - 50;
        memcpy(new, coded, sizeof new);
        predict_finish(&plan, types[t], VALUES, old, new);
        assert_true(predict_target(&plan, types[t], VALUES, old, new, &scratch, coded));
        predict_finish(&plan, types[t], VALUES, old, coded);
        assert_memory_equal(coded, new, sizeof new);
        old[77] = plain_round(types[t], 0);
        new[77] = plain_round(types[t], 0.9990234375); /* half a step too much; too coarse for bf16 */
        assert_int_equal(predict_target(&plan, types[t], VALUES, old, new, &scratch, coded), types[t] == TENSOR_BF16);
        new[77] = plain_round(types[t], ldexp(1, 14)); /* 2^23 steps */
        assert_false(predict_target(&plan, types[t], VALUES, old, new, &scratch, coded));
        new[77] = plain_round(types[t], -ldexp(1, 13)); /* 2^22: the most */
        assert_true(predict_target(&plan, types[t], VALUES, old, new, &scratch, coded));
        assert_int_equal(coded[77], -PREDICT_GRID_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_all_of_16_bits),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_targets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
