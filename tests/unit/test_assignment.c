/* Assignments: every state with every event, and what a beat means. */
#include "server/core/assignment.h"

#include "tests/unit/unit.h"

#include <string.h>

/* One row per state, one letter per event, in the order of the enums: the state that follows, '.' for none. */
static const char letters[] = "wodshapSFRJCXTA";
static const char *const expected[ASSIGNMENT_STATES_] = {
    /* events: offer download stage hold apply probe prove fail reject cancel supersede reopen return strand */
    [ASSIGNMENT_WAITING] = "o........CX...",
    [ASSIGNMENT_OFFERED] = ".dshapSFJCX.RF",
    [ASSIGNMENT_DOWNLOADING] = "..shapSFJCX.RF",
    [ASSIGNMENT_STAGED] = ".d.hapSFJCX.RF",
    [ASSIGNMENT_HELD] = ".ds.apSFJCX.RF",
    [ASSIGNMENT_APPLYING] = ".dsh.pSFJ.X.RF",
    [ASSIGNMENT_PROBATION] = ".dsha.SFJ.X.RF",
    [ASSIGNMENT_SUCCEEDED] = "..........XoRF",
    [ASSIGNMENT_FAILED] = "............R.",
    [ASSIGNMENT_ROLLED_BACK] = "..............",
    [ASSIGNMENT_REJECTED] = "..............",
    [ASSIGNMENT_CANCELLED] = "..............",
    [ASSIGNMENT_SUPERSEDED] = "..............",
    [ASSIGNMENT_TIMED_OUT] = "..............",
    [ASSIGNMENT_ALREADY_RUNNING] = "..........XoRF",
};

static void every_state_and_event(void **state)
{
    (void)state;
    for (int s = 0; s < ASSIGNMENT_STATES_; s++) {
        for (int event = 0; event < ASSIGNMENT_EVENTS_; event++) {
            enum assignment_state next = ASSIGNMENT_STATES_;
            bool moved = assignment_next((enum assignment_state)s, (enum assignment_event)event, &next);
            char got = moved ? letters[next] : '.';
            if (!moved)
                assert_int_equal(next, ASSIGNMENT_STATES_);
            if (got != expected[s][event])
                fail_msg("%s with event %d gives %c", assignment_name((enum assignment_state)s), event, got);
        }
    }
}

static void sets_of_states(void **state)
{
    (void)state;
    static const char open[] = "wodshap", flight[] = "odshap", recallable[] = "odsh", failures[] = "FJT";
    for (int s = 0; s < ASSIGNMENT_STATES_; s++) {
        enum assignment_state st = (enum assignment_state)s;
        assert_int_equal(assignment_open(st), strchr(open, letters[s]) != NULL);
        assert_int_equal(assignment_in_flight(st), strchr(flight, letters[s]) != NULL);
        assert_int_equal(assignment_recallable(st), strchr(recallable, letters[s]) != NULL);
        assert_int_equal(assignment_failure(st), strchr(failures, letters[s]) != NULL);
    }
}

static void names(void **state)
{
    (void)state;
    for (int s = 0; s < ASSIGNMENT_STATES_; s++) {
        enum assignment_state back = ASSIGNMENT_STATES_;
        assert_true(assignment_parse(assignment_name((enum assignment_state)s), &back));
        assert_int_equal(back, s);
    }
    enum assignment_state none;
    assert_false(assignment_parse("Waiting", &none));
    assert_false(assignment_parse(NULL, &none));
    enum slot_phase phase;
    assert_true(slot_phase_parse("switching", &phase));
    assert_int_equal(phase, PHASE_SWITCHING);
    assert_false(slot_phase_parse("flying", &phase));
}

static struct slot_report report_of(enum slot_phase phase)
{
    return (struct slot_report){.current = true, .phase = phase, .target = BUNDLE_THIS, .running = BUNDLE_PREVIOUS};
}

static void phases_become_events(void **state)
{
    (void)state;
    static const struct {
        enum slot_phase phase;
        enum assignment_event event;
    } table[] = {
        {PHASE_DOWNLOADING, ASSIGNMENT_EVENT_DOWNLOAD},
        {PHASE_VERIFYING, ASSIGNMENT_EVENT_DOWNLOAD},
        {PHASE_TESTING, ASSIGNMENT_EVENT_DOWNLOAD},
        {PHASE_STAGED, ASSIGNMENT_EVENT_STAGE},
        {PHASE_HELD, ASSIGNMENT_EVENT_HOLD},
        {PHASE_SWITCHING, ASSIGNMENT_EVENT_APPLY},
        {PHASE_PROBATION, ASSIGNMENT_EVENT_PROBE},
        {PHASE_FAILED, ASSIGNMENT_EVENT_FAIL},
    };
    enum assignment_event event;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct slot_report report = report_of(table[i].phase);
        assert_true(assignment_event_of_report(&report, &event));
        assert_int_equal(event, table[i].event);
        report.current = false;
        assert_false(assignment_event_of_report(&report, &event));
        report.current = true;
        report.target = BUNDLE_OTHER;
        assert_false(assignment_event_of_report(&report, &event));
    }
    struct slot_report empty = report_of(PHASE_EMPTY);
    assert_false(assignment_event_of_report(&empty, &event));
}

static void success_is_proven(void **state)
{
    (void)state;
    enum assignment_event event;
    struct slot_report report = report_of(PHASE_RUNNING);
    for (int running = BUNDLE_NONE; running <= BUNDLE_OTHER; running++) {
        report.running = (enum which_bundle)running;
        assert_int_equal(assignment_event_of_report(&report, &event), running == BUNDLE_THIS);
    }
    report.running = BUNDLE_THIS;
    assert_true(assignment_event_of_report(&report, &event));
    assert_int_equal(event, ASSIGNMENT_EVENT_PROVE);
    report.phase = PHASE_PROBATION; /* the digest alone is not enough */
    assert_true(assignment_event_of_report(&report, &event));
    assert_int_equal(event, ASSIGNMENT_EVENT_PROBE);
}

static void a_bundle_that_does_not_fit_is_rejected(void **state)
{
    (void)state;
    enum assignment_event event;
    struct slot_report report = report_of(PHASE_FAILED);
    report.code = "does_not_fit";
    report.device_left = "no_change";
    assert_true(assignment_event_of_report(&report, &event));
    assert_int_equal(event, ASSIGNMENT_EVENT_REJECT);
    report.device_left = "rolled_back"; /* it had got further than that */
    assert_true(assignment_event_of_report(&report, &event));
    assert_int_equal(event, ASSIGNMENT_EVENT_FAIL);
    report.code = "infer_crashed";
    report.device_left = "no_change";
    assert_true(assignment_event_of_report(&report, &event));
    assert_int_equal(event, ASSIGNMENT_EVENT_FAIL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_state_and_event),
        cmocka_unit_test(sets_of_states),
        cmocka_unit_test(names),
        cmocka_unit_test(phases_become_events),
        cmocka_unit_test(success_is_proven),
        cmocka_unit_test(a_bundle_that_does_not_fit_is_rejected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
