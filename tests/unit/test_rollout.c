/* Rollouts and waves: every state with every event, and what a person may do. */
#include "server/core/rollout.h"

#include "tests/unit/unit.h"

#include <string.h>

/* One letter per event: Pause, Resume, Abort, rollBack, Complete, Safe; the state that follows, '.' for none. */
static void every_rollout_state_and_event(void **state)
{
    (void)state;
    static const char letters[] = "dwsrpcaBb";
    static const char *const expected[ROLLOUT_STATES_] = {
        [ROLLOUT_DRAFT] = "......",       [ROLLOUT_AWAITING_APPROVAL] = "......",
        [ROLLOUT_SCHEDULED] = "......",   [ROLLOUT_RUNNING] = "p.aBc.",
        [ROLLOUT_PAUSED] = ".raB..",      [ROLLOUT_COMPLETED] = "...B..",
        [ROLLOUT_ABORTED] = "...B..",     [ROLLOUT_ROLLING_BACK] = ".....b",
        [ROLLOUT_ROLLED_BACK] = "......",
    };
    for (int s = 0; s < ROLLOUT_STATES_; s++) {
        for (int event = 0; event < ROLLOUT_EVENTS_; event++) {
            enum rollout_state next = ROLLOUT_STATES_;
            bool moved = rollout_next((enum rollout_state)s, (enum rollout_event)event, &next);
            if ((moved ? letters[next] : '.') != expected[s][event])
                fail_msg("%s with event %d", rollout_name((enum rollout_state)s), event);
        }
    }
}

static void every_wave_state_and_event(void **state)
{
    (void)state;
    static const char letters[] = "wrspfi";
    static const char *const expected[WAVE_STATES_] = {
        /* start settle pass fail ask retry accept */
        [WAVE_PENDING] = "r......", [WAVE_RUNNING] = ".s.fi..", [WAVE_SOAKING] = "..pf...",
        [WAVE_PASSED] = "...f...",  [WAVE_FAILED] = ".....r.",  [WAVE_INCONCLUSIVE] = "......p",
    };
    for (int s = 0; s < WAVE_STATES_; s++) {
        for (int event = 0; event < WAVE_EVENTS_; event++) {
            enum wave_state next = WAVE_STATES_;
            bool moved = wave_next((enum wave_state)s, (enum wave_event)event, &next);
            if ((moved ? letters[next] : '.') != expected[s][event])
                fail_msg("%s with event %d", wave_name((enum wave_state)s), event);
        }
        assert_int_equal(wave_begun((enum wave_state)s), strchr("rsp", letters[s]) != NULL);
    }
}

static void names(void **state)
{
    (void)state;
    for (int s = 0; s < ROLLOUT_STATES_; s++) {
        enum rollout_state back;
        assert_true(rollout_parse(rollout_name((enum rollout_state)s), &back));
        assert_int_equal(back, s);
    }
    for (int s = 0; s < WAVE_STATES_; s++) {
        enum wave_state back;
        assert_true(wave_parse(wave_name((enum wave_state)s), &back));
        assert_int_equal(back, s);
    }
    enum rollout_state none;
    assert_false(rollout_parse("", &none));
}

/* An action is allowed exactly where its event leads somewhere, and a refusal always says why. */
static void actions(void **state)
{
    (void)state;
    for (int s = 0; s < ROLLOUT_STATES_; s++) {
        for (int action = 0; action < ROLLOUT_ACTIONS_; action++) {
            struct rollout_situation situation = {.state = (enum rollout_state)s, .wanted = 3};
            enum rollout_state next;
            char reason[ROLLOUT_REASON_MAX];
            bool may = rollout_may(&situation, (enum rollout_action)action, reason);
            assert_int_equal(may,
                             rollout_next(situation.state, rollout_action_event((enum rollout_action)action), &next));
            assert_int_equal(may, reason[0] == '\0');
        }
    }
}

static void rollback_needs_something_to_do(void **state)
{
    (void)state;
    char reason[ROLLOUT_REASON_MAX];
    struct rollout_situation situation = {.state = ROLLOUT_COMPLETED, .wanted = 0};
    assert_false(rollout_may(&situation, ACTION_ROLLBACK, reason));
    assert_non_null(strstr(reason, "nothing to roll back"));
    situation.state = ROLLOUT_RUNNING; /* then it is the way to stop it for good */
    assert_true(rollout_may(&situation, ACTION_ROLLBACK, reason));
    situation = (struct rollout_situation){.state = ROLLOUT_COMPLETED, .wanted = 3, .newer_open = 42};
    assert_false(rollout_may(&situation, ACTION_ROLLBACK, reason));
    assert_non_null(strstr(reason, "Rollout 42 is newer"));
    situation.state = ROLLOUT_RUNNING; /* the brake works whatever is newer */
    assert_true(rollout_may(&situation, ACTION_PAUSE, reason));
    situation.state = ROLLOUT_ROLLED_BACK;
    assert_false(rollout_may(&situation, ACTION_RESUME, reason));
    assert_string_equal(reason, "Only a paused rollout can be resumed; this one is rolled back.");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rollout_state_and_event),
        cmocka_unit_test(every_wave_state_and_event),
        cmocka_unit_test(names),
        cmocka_unit_test(actions),
        cmocka_unit_test(rollback_needs_something_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
