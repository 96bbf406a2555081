/* When samples are due: on time for ever, late ones queue, the oldest are given up. */
#include "agent/infer/schedule.h"

#include "tests/unit/unit.h"

static void test_no_drift(void **state)
{
    (void)state;
    static const double rates[] = {0.001, 1, 3, 7.5, 30, 10000};
    for (size_t r = 0; r < sizeof rates / sizeof *rates; r++) {
        struct schedule s = schedule_start(1000, rates[r]);
        int64_t now = 1000;
        for (int64_t k = 0; k < 100000; k++) {
            int64_t due = schedule_due_us(&s);
            double exact = 1000 + (double)k * 1e6 / rates[r];
            assert_true((double)due >= exact - 1e-3 && (double)due < exact + 1.001);
            now = due + 37; /* every run a little late: the next is due all the same when it should be */
            assert_int_equal(schedule_waiting(&s, now), 1);
            assert_int_equal(schedule_take(&s), k);
        }
    }
}

static void test_not_early(void **state)
{
    (void)state;
    struct schedule s = schedule_start(0, 10);
    assert_int_equal(schedule_waiting(&s, 0), 1);
    assert_int_equal(schedule_take(&s), 0);
    assert_int_equal(schedule_waiting(&s, 99999), 0);
    assert_int_equal(schedule_waiting(&s, 100000), 1);
}

static void test_late_ones_wait(void **state)
{
    (void)state;
    struct schedule s = schedule_start(0, 10);
    assert_int_equal(schedule_waiting(&s, 450000), 5); /* 0, 100, 200, 300, 400 ms */
    for (int64_t k = 0; k < 5; k++) {
        assert_int_equal(schedule_waiting(&s, 450000), 5 - k);
        assert_int_equal(schedule_take(&s), k);
    }
    assert_int_equal(schedule_waiting(&s, 450000), 0);
}

static void test_oldest_are_given_up(void **state)
{
    (void)state;
    struct schedule s = schedule_start(0, 1000);
    int64_t hour_us = 3600LL * 1000000; /* a suspended machine */
    assert_int_equal(schedule_waiting(&s, hour_us), SCHEDULE_WAITING_MAX);
    int64_t first = schedule_take(&s);
    assert_int_equal(first, 3600 * 1000 - SCHEDULE_WAITING_MAX + 1);
    for (int i = 1; i < SCHEDULE_WAITING_MAX; i++)
        (void)schedule_take(&s);
    assert_int_equal(schedule_waiting(&s, hour_us), 0);
    assert_int_equal(schedule_due_us(&s), hour_us + 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_drift),
        cmocka_unit_test(test_not_early),
        cmocka_unit_test(test_late_ones_wait),
        cmocka_unit_test(test_oldest_are_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
