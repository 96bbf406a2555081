/* The step of a series: never more points than promised, never coarser than needed. */
#include "server/core/series.h"

#include "tests/unit/unit.h"

static void steps(void **state)
{
    (void)state;
    static const int64_t lengths[] = {
        0, 1, 1438, 1439, 1440, 2879, 2880, 900000, 3600000, 86400000, 7 * 86400000LL, 730 * 86400000LL, 1 << 30};
    const int64_t from = 1764000000123;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        int64_t step = series_step_ms(from, from + lengths[i]);
        assert_true(step >= 1);
        assert_true(lengths[i] / step + 1 <= SERIES_POINTS_MAX);
        if (step > 1)
            assert_true(lengths[i] / (step - 1) + 1 > SERIES_POINTS_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(steps)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
