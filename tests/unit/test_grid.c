/* Rounding of updates for grid publishing. */
#include "common/delta/grid_round.h"
#include "tests/unit/unit.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { COUNT = 5000 };

/* The same numbers everywhere. */
static double noise(uint64_t *state)
{
    double sum = 0;
    for (int i = 0; i < 4; i++) {
        *state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
        sum += (double)(*state >> 11) / (double)(1ULL << 53) - 0.5;
    }
    return sum * sqrt(3); /* about a Gaussian of size 1 */
}

/* Weights of size 1/4 and an update of the given size, of which every fourth element is nothing. */
static void pair_make(float *old, float *new, size_t count, double update)
{
    uint64_t state = 7;
    for (size_t i = 0; i < count; i++) {
        old[i] = (float)(noise(&state) / 4);
        const double step = noise(&state) * update;
        new[i] = i % 4 == 0 ? old[i] : (float)(old[i] + step);
    }
}

static struct grid_report f32_round(const float *old, float *new, uint64_t count, unsigned finer)
{
    return grid_round(&(struct grid_tensor){TENSOR_F32, count, (const uint8_t *)old, (uint8_t *)new}, finer);
}

static void test_every_element_is_a_whole_number_of_steps_away(void **state)
{
    (void)state;
    static float old[COUNT], new[COUNT], rounded[COUNT];
    for (unsigned finer = 0; finer < 4; finer++) {
        pair_make(old, new, COUNT, 0.0011);
        memcpy(rounded, new, sizeof new);
        const struct grid_report report = f32_round(old, rounded, COUNT, finer);
        assert_int_equal(report.outcome, GRID_ROUNDED);
        assert_int_equal(report.exponent, -10 - (int)finer); /* 2^-10 is just below 0.0011 */
        assert_int_equal(report.moved_before, COUNT - COUNT / 4);
        assert_true(report.moved_after < report.moved_before);
        assert_true(fabs(report.update - 0.0011) < 0.00005);
        const double step = ldexp(1, report.exponent);
        assert_true(report.error > step / 5 && report.error < step / 2.5); /* step / sqrt(12) */
        for (size_t i = 0; i < COUNT; i++) {
            const double steps = rint(((double)rounded[i] - (double)old[i]) / step);
            assert_true(rounded[i] == (float)(old[i] + steps * step));
            assert_true(fabs((double)rounded[i] - (double)new[i]) <= step / 2 + 1e-7);
        }
    }
}

static void test_small_tensors_are_rounded_finer(void **state)
{
    (void)state;
    static float old[COUNT], new[COUNT];
    pair_make(old, new, COUNT, 0.0011);
    assert_int_equal(f32_round(old, new, 1999, 0).exponent, -14);
    pair_make(old, new, COUNT, 0.0011);
    assert_int_equal(f32_round(old, new, 2000, 0).exponent, -10);
}

static void test_a_layer_made_anew_keeps_its_values(void **state)
{
    (void)state;
    static float old[COUNT], new[COUNT], again[COUNT];
    uint64_t random = 9;
    for (size_t i = 0; i < COUNT; i++) {
        old[i] = (float)(noise(&random) * 8);
        new[i] = (float)(noise(&random) / 4);
    }
    memcpy(again, new, sizeof new);
    const struct grid_report report = f32_round(old, new, COUNT, 0);
    assert_int_equal(report.outcome, GRID_ROUNDED);
    assert_int_equal(report.exponent, -5); /* 2^-3 is below 1/4, and a quarter of that */
    assert_int_equal(f32_round(old, again, COUNT, 3).exponent, -8);
}

/* Half and bfloat: the bits are what counts. */
static void test_halves(void **state)
{
    (void)state;
    static uint16_t old[COUNT], new[COUNT], before[COUNT];
    uint64_t random = 11;
    for (int kind = 0; kind < 2; kind++) {
        const int mantissa = kind == 0 ? 10 : 7, bias = kind == 0 ? 15 : 127;
        for (size_t i = 0; i < COUNT; i++) { /* around 1/4, moved by some units in the last place */
            old[i] = (uint16_t)(((bias - 2) << mantissa) + (int)(i * 37 % (1U << mantissa)));
            new[i] = (uint16_t)(old[i] + (int)(noise(&random) * 3));
        }
        memcpy(before, new, sizeof new);
        const struct grid_tensor tensor = {kind == 0 ? TENSOR_F16 : TENSOR_BF16, COUNT, (const uint8_t *)old,
                                           (uint8_t *)new};
        const struct grid_report report = grid_round(&tensor, 0);
        assert_int_equal(report.outcome, GRID_ROUNDED);
        assert_int_equal(report.exponent, -2 - mantissa + 1); /* of 2 to 4 units */
        size_t changed = 0;
        for (size_t i = 0; i < COUNT; i++) {
            changed += new[i] != before[i];
            if (old[i] >> mantissa == bias - 2 && new[i] >> mantissa == bias - 2)
                assert_int_equal((new[i] - old[i]) % 2, 0); /* a step is two units */
        }
        assert_true(changed > COUNT / 8);
    }
}

static void test_what_is_not_rounded_stays_as_it_is(void **state)
{
    (void)state;
    static float old[COUNT], new[COUNT], before[COUNT];
    pair_make(old, new, COUNT, 0.001);
    memcpy(before, new, sizeof new);
    const struct grid_tensor whole = {TENSOR_I32, COUNT, (const uint8_t *)old, (uint8_t *)new};
    assert_int_equal(grid_round(&whole, 0).outcome, GRID_NOT_FLOAT);
    assert_memory_equal(new, before, sizeof new);
    assert_int_equal(f32_round(before, new, COUNT, 0).outcome, GRID_SAME);
    assert_memory_equal(new, before, sizeof new);
    assert_int_equal(f32_round(old, new, 0, 0).outcome, GRID_SAME);
    for (int which = 0; which < 2; which++) {
        float *bad = which == 0 ? old : new;
        const float kept = bad[4999];
        bad[4999] = which == 0 ? INFINITY : NAN;
        memcpy(before, new, sizeof new);
        assert_int_equal(f32_round(old, new, COUNT, 0).outcome, GRID_NOT_FINITE);
        assert_memory_equal(new, before, sizeof new);
        bad[4999] = kept;
    }
    memset(new, 0, sizeof new);
    assert_int_equal(f32_round(old, new, COUNT, 0).outcome, GRID_EXTREME); /* of what size would a step be? */
    for (size_t i = 0; i < COUNT; i++)
        assert_true(new[i] == 0);
}

static void test_edges_of_the_type(void **state)
{
    (void)state;
    static float old[COUNT], new[COUNT];
    pair_make(old, new, COUNT, 0.25);
    for (size_t i = 0; i < COUNT; i++) { /* the largest numbers there are */
        old[i] = old[i] < 0 ? -FLT_MAX / 2 : FLT_MAX / 2;
        new[i] = i % 3 == 0 ? old[i] / 8 : old[i] < 0 ? -FLT_MAX : FLT_MAX;
    }
    assert_int_equal(f32_round(old, new, COUNT, 0).outcome, GRID_ROUNDED);
    for (size_t i = 0; i < COUNT; i++)
        assert_true(isfinite(new[i]));
    pair_make(old, new, COUNT, 0.001);
    old[1] = -0.0F; /* its sign is kept where the update is less than half a step */
    new[1] = 0.0001F;
    assert_int_equal(f32_round(old, new, COUNT, 0).outcome, GRID_ROUNDED);
    assert_true(new[1] == 0 && signbit(new[1]));
    static double old64[COUNT], new64[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        old64[i] = 1e200;
        new64[i] = 1.5e200;
    }
    const struct grid_tensor wide = {TENSOR_F64, COUNT, (const uint8_t *)old64, (uint8_t *)new64};
    assert_int_equal(grid_round(&wide, 0).outcome, GRID_EXTREME);
    assert_true(new64[0] == 1.5e200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_element_is_a_whole_number_of_steps_away),
        cmocka_unit_test(test_small_tensors_are_rounded_finer),
        cmocka_unit_test(test_a_layer_made_anew_keeps_its_values),
        cmocka_unit_test(test_halves),
        cmocka_unit_test(test_what_is_not_rounded_stays_as_it_is),
        cmocka_unit_test(test_edges_of_the_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
