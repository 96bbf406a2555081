/* server/http/limiter: attempts per key, refilled over time, in bounded memory. */

#include "server/http/limiter.h"
#include "tests/unit/unit.h"

#include <stdio.h>

enum { MINUTE_MS = 60000 };

static struct limiter *start(int64_t per_minute, size_t keys)
{
    struct limiter *limiter = NULL;
    assert_int_equal(limiter_new(per_minute, keys, &limiter), ERR_OK);
    return limiter;
}

/* How many of 1000 attempts at this moment are let through. */
static int let_through(struct limiter *limiter, const char *key, int64_t now_ms)
{
    int count = 0;
    for (int i = 0; i < 1000; i++)
        count += limiter_take(limiter, key, now_ms, NULL) == ERR_OK;
    return count;
}

static void a_minutes_attempts_then_refused(void **state)
{
    (void)state;
    struct limiter *limiter = start(10, 64);
    struct err_info info = {0};
    assert_int_equal(let_through(limiter, "10.0.0.1", 5), 10);
    assert_int_equal(limiter_take(limiter, "10.0.0.1", 5, &info), ERR_RATE);
    assert_string_equal(info.code, "rate_limited");
    assert_string_equal(info.next, "try again in 6 s");
    assert_int_equal(info.retry_after_s, 6);
    limiter_free(limiter);
}

static void refills_evenly_and_never_above_a_minutes_worth(void **state)
{
    (void)state;
    struct limiter *limiter = start(10, 64);
    assert_int_equal(let_through(limiter, "a", 0), 10);
    assert_int_equal(let_through(limiter, "a", 5999), 0);
    assert_int_equal(let_through(limiter, "a", 6001), 1);
    assert_int_equal(let_through(limiter, "a", 6001 + MINUTE_MS / 2), 5);
    assert_int_equal(let_through(limiter, "a", 100 * MINUTE_MS), 10);
    limiter_free(limiter);
}

static void keys_do_not_touch_each_other(void **state)
{
    (void)state;
    struct limiter *limiter = start(3, 64);
    assert_int_equal(let_through(limiter, "10.0.0.1", 0), 3);
    assert_int_equal(let_through(limiter, "10.0.0.2", 0), 3);
    assert_int_equal(let_through(limiter, "", 0), 3);
    limiter_free(limiter);
}

/* Many other addresses may make it forget a quiet one, but not the one that keeps trying. */
static void the_quietest_is_forgotten(void **state)
{
    (void)state;
    struct limiter *limiter = start(5, 8);
    assert_int_equal(let_through(limiter, "loud", 0), 5);
    for (int i = 1; i < 2000; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%d", i);
        assert_int_equal(limiter_take(limiter, key, i, NULL), ERR_OK);
        assert_int_equal(limiter_take(limiter, "loud", i, NULL), ERR_RATE);
    }
    limiter_free(limiter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_minutes_attempts_then_refused),
        cmocka_unit_test(refills_evenly_and_never_above_a_minutes_worth),
        cmocka_unit_test(keys_do_not_touch_each_other),
        cmocka_unit_test(the_quietest_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
