/* Which deltas are worth making, and in which order. */
#include "server/core/delta_plan.h"
#include "tests/unit/unit.h"

#include <stdlib.h>

enum { MB = 1000000 };

static struct delta_pair pair_of(int64_t devices, int64_t full)
{
    return (struct delta_pair){
        .devices = devices, .due = true, .full_size = full, .size = -1, .ratio = -1, .state = DELTA_NONE};
}

static void judging(void **state)
{
    (void)state;
    const struct delta_policy policy = {.saved_min = 10 * MB};
    struct delta_pair p = pair_of(3, 8 * MB);
    delta_pair_judge(&p, &policy);
    assert_true(p.expected == 4 * MB && p.saved == 12 * MB && p.worth); /* half of it, as long as nothing is known */
    p.devices = 2;
    delta_pair_judge(&p, &policy);
    assert_true(p.saved == 8 * MB && !p.worth);
    p.ratio = 0.25; /* other deltas of the slot were better */
    delta_pair_judge(&p, &policy);
    assert_true(p.expected == 2 * MB && p.saved == 12 * MB && p.worth);
    p.size = 7 * MB; /* made: what it is counts, not what was expected */
    delta_pair_judge(&p, &policy);
    assert_true(p.expected == 7 * MB && p.saved == 2 * MB && !p.worth);
    p.size = 9 * MB;
    delta_pair_judge(&p, &policy);
    assert_true(p.saved == 0 && !p.worth);
    p = pair_of(0, 8 * MB);
    delta_pair_judge(&p, &(struct delta_policy){.saved_min = 0});
    assert_false(p.worth); /* nobody has it */
    p.asked = true;
    delta_pair_judge(&p, &policy);
    assert_true(p.worth);
    p = pair_of(5, 8 * MB);
    p.ratio = 1.4;
    delta_pair_judge(&p, &(struct delta_policy){.saved_min = 0});
    assert_true(p.expected == 8 * MB && p.saved == 0 && !p.worth);
    p = pair_of(INT64_MAX / 2, INT64_C(1) << 40);
    delta_pair_judge(&p, &policy);
    assert_true(p.saved == INT64_MAX && p.worth);
}

static void wanting(void **state)
{
    (void)state;
    for (enum delta_state s = DELTA_NONE; s < DELTA_STATES_; s++)
        for (int due = 0; due < 2; due++)
            for (int worth = 0; worth < 2; worth++) {
                const struct delta_pair p = {.state = s, .due = due, .worth = worth};
                bool open = s == DELTA_NONE || s == DELTA_WANTED || s == DELTA_MAKING;
                assert_int_equal(delta_pair_wanted(&p), open && due && worth);
            }
}

/* Each line beats all lines below it. */
static void order(void **state)
{
    (void)state;
    struct delta_pair p[7];
    for (size_t i = 0; i < 7; i++) {
        p[i] = pair_of(10, MB);
        p[i].newness = 5;
        p[i].row = i;
    }
    p[0].asked = true;
    p[0].newness = 1;
    p[1].active = true;
    p[1].devices = 1;
    p[2].newness = 9;
    p[2].devices = 1;
    p[3].devices = 11;
    p[4].saved = 3 * MB;
    p[5].saved = 2 * MB;
    for (unsigned seed = 1; seed <= 200; seed++) {
        srand(seed); // NOLINT: a fixed sequence is wanted
        for (size_t i = 6; i > 0; i--) {
            size_t other = (size_t)rand() % (i + 1); // NOLINT
            struct delta_pair kept = p[i];
            p[i] = p[other];
            p[other] = kept;
        }
        delta_pairs_sort(p, 7);
        for (size_t i = 0; i < 7; i++)
            assert_int_equal(p[i].row, i);
    }
    delta_pairs_sort(NULL, 0);
}

static void keeping(void **state)
{
    (void)state;
    assert_true(delta_size_kept(89, 100));
    assert_false(delta_size_kept(90, 100));
    assert_false(delta_size_kept(100, 100));
    assert_true(delta_size_kept(1, 2));
    assert_false(delta_size_kept(INT64_MAX, INT64_MAX));
    assert_true(delta_size_kept(INT64_MAX / 2, INT64_MAX));
}

static void retrying(void **state)
{
    (void)state;
    int64_t before = 0;
    for (int64_t tries = 1; tries < DELTA_TRIES_MAX; tries++) {
        assert_true(delta_retry_ms(tries) > before);
        before = delta_retry_ms(tries);
    }
    assert_true(delta_retry_ms(0) > 0 && delta_retry_ms(1000) == before);
}

static void names(void **state)
{
    (void)state;
    for (enum delta_state s = DELTA_NONE; s < DELTA_STATES_; s++) {
        enum delta_state parsed = DELTA_STATES_;
        assert_true(delta_state_parse(delta_state_name(s), &parsed));
        assert_int_equal(parsed, s);
    }
    enum delta_state untouched = DELTA_READY;
    assert_false(delta_state_parse("nonsense", &untouched));
    assert_int_equal(untouched, DELTA_READY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(judging), cmocka_unit_test(wanting),  cmocka_unit_test(order),
                                       cmocka_unit_test(keeping), cmocka_unit_test(retrying), cmocka_unit_test(names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
