/* Alerts: conditions, life, the watch, and what happens to devices when the server itself was away. */
#include "server/core/alert.h"
#include "tests/unit/unit.h"

#include <math.h>
#include <string.h>

static const struct alert_rule missing = {.kind = ALERT_HEARTBEAT_MISSING, .threshold = 3};
static const struct alert_rule hot = {.kind = ALERT_TEMPERATURE, .threshold = 5, .for_ms = 10000};
static const int64_t long_ago = 1000000;

static struct alert_fact fine(void)
{
    return (struct alert_fact){.watched = true, .silent_ms = 500, .gone_ms = -1, .beat_ms = 2000, .margin_c = 20};
}

static enum alert_truth truth_of(const struct alert_rule *rule, struct alert_fact fact, int64_t heard_ms)
{
    return alert_condition(rule, &fact, heard_ms).truth;
}

static void test_names(void **state)
{
    (void)state;
    for (int k = 0; k < ALERT_KINDS_; k++)
        assert_int_equal(alert_kind_parse(alert_kind_name((enum alert_kind)k)), k);
    for (int s = 0; s < ALERT_STATES_; s++)
        assert_int_equal(alert_state_parse(alert_state_name((enum alert_state)s)), s);
    assert_int_equal(alert_kind_parse("nonsense"), ALERT_KINDS_);
    assert_int_equal(alert_state_parse(""), ALERT_STATES_);
    assert_int_equal(alert_state_parse(NULL), ALERT_STATES_);
}

static void test_heartbeat(void **state)
{
    (void)state;
    struct alert_fact f = fine();
    assert_int_equal(truth_of(&missing, f, long_ago), ALERT_NO);
    f.silent_ms = 6000;
    assert_int_equal(truth_of(&missing, f, long_ago), ALERT_NO);
    f.silent_ms = 6001;
    assert_int_equal(truth_of(&missing, f, long_ago), ALERT_YES);
    f.silent_ms = -1; /* never heard: not missing */
    assert_int_equal(truth_of(&missing, f, long_ago), ALERT_NO);
    f.silent_ms = 100000;
    f.watched = false;
    assert_int_equal(truth_of(&missing, f, long_ago), ALERT_NO);
}

static void test_gone(void **state)
{
    (void)state;
    struct alert_fact f = fine();
    f.beat_ms = 30000;
    f.silent_ms = 11000;
    f.gone_ms = 0;
    assert_int_equal(truth_of(&missing, f, long_ago), ALERT_UNKNOWN);
    f.gone_ms = 10000;
    assert_int_equal(truth_of(&missing, f, long_ago), ALERT_UNKNOWN);
    f.gone_ms = 10001; /* long before three beats */
    assert_int_equal(truth_of(&missing, f, long_ago), ALERT_YES);
}

/* Absence while the server was away counts only after a full beat (gone) or the rule's beats (silent) of hearing. */
static void test_grace(void **state)
{
    (void)state;
    struct alert_fact f = fine();
    f.silent_ms = 3600000;
    assert_int_equal(truth_of(&missing, f, 0), ALERT_UNKNOWN);
    assert_int_equal(truth_of(&missing, f, 6000), ALERT_UNKNOWN);
    assert_int_equal(truth_of(&missing, f, 6001), ALERT_YES);
    f.gone_ms = 3600000;
    f.beat_ms = 30000;
    assert_int_equal(truth_of(&missing, f, 45000), ALERT_UNKNOWN);
    assert_int_equal(truth_of(&missing, f, 45001), ALERT_YES);
    f.beat_ms = 1000;
    f.silent_ms = 2000;
    assert_int_equal(truth_of(&missing, f, 10000), ALERT_UNKNOWN);
    assert_int_equal(truth_of(&missing, f, 10001), ALERT_YES);
}

static void test_temperature(void **state)
{
    (void)state;
    struct alert_fact f = fine();
    assert_int_equal(truth_of(&hot, f, 0), ALERT_NO);
    f.margin_c = 5;
    assert_int_equal(truth_of(&hot, f, 0), ALERT_YES); /* what was heard was heard: no grace needed */
    f.margin_c = -3;
    assert_int_equal(truth_of(&hot, f, 0), ALERT_YES);
    f.margin_c = NAN;
    assert_int_equal(truth_of(&hot, f, 0), ALERT_UNKNOWN);
    f.margin_c = -3;
    f.silent_ms = 6001; /* an old reading */
    assert_int_equal(truth_of(&hot, f, long_ago), ALERT_UNKNOWN);
    f = fine();
    f.margin_c = 5.9;
    f.state = ALERT_PENDING;
    assert_int_equal(truth_of(&hot, f, 0), ALERT_NO);
    f.state = ALERT_FIRING; /* one degree more to resolve */
    assert_int_equal(truth_of(&hot, f, 0), ALERT_YES);
    f.margin_c = 6.1;
    assert_int_equal(truth_of(&hot, f, 0), ALERT_NO);
}

static void test_findings(void **state)
{
    (void)state;
    struct alert_fact f = fine();
    f.silent_ms = 7000;
    struct alert_finding finding = alert_condition(&missing, &f, long_ago);
    assert_int_equal(finding.truth, ALERT_YES);
    assert_true(finding.value == 3.5);
    assert_int_equal(finding.ago_ms, 7000); /* the silence began with the last beat */
    f = fine();
    f.margin_c = 4.5;
    f.held_ms = 3000;
    finding = alert_condition(&hot, &f, long_ago);
    assert_int_equal(finding.truth, ALERT_YES);
    assert_true(finding.value == 4.5);
    assert_int_equal(finding.ago_ms, 3000);
    f.watched = false;
    finding = alert_condition(&hot, &f, long_ago);
    assert_int_equal(finding.truth, ALERT_NO);
    assert_true(isnan(finding.value));
}

static void test_life(void **state)
{
    (void)state;
    static const struct {
        enum alert_state from;
        enum alert_truth truth;
        bool lasted;
        enum alert_state to;
    } cases[] = {
        {ALERT_NONE, ALERT_NO, true, ALERT_NONE},         {ALERT_NONE, ALERT_UNKNOWN, true, ALERT_NONE},
        {ALERT_NONE, ALERT_YES, false, ALERT_PENDING},    {ALERT_NONE, ALERT_YES, true, ALERT_FIRING},
        {ALERT_PENDING, ALERT_NO, true, ALERT_NONE},      {ALERT_PENDING, ALERT_UNKNOWN, true, ALERT_NONE},
        {ALERT_PENDING, ALERT_YES, false, ALERT_PENDING}, {ALERT_PENDING, ALERT_YES, true, ALERT_FIRING},
        {ALERT_FIRING, ALERT_NO, false, ALERT_RESOLVED},  {ALERT_FIRING, ALERT_UNKNOWN, false, ALERT_FIRING},
        {ALERT_FIRING, ALERT_YES, false, ALERT_FIRING},   {ALERT_RESOLVED, ALERT_YES, true, ALERT_RESOLVED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(alert_next(cases[i].from, cases[i].truth, cases[i].lasted), cases[i].to);
}

/* One device's alert, second by second. */
struct tale {
    const struct alert_rule *rule;
    struct alert_fact fact;
    struct alert_watch watch;
    int64_t now_ms, link_since_ms, since_ms;
    int fired, resolved;
};

static void look(struct tale *t)
{
    int64_t heard_ms = alert_watch_look(&t->watch, t->now_ms, t->link_since_ms, 5000);
    if (heard_ms < 0)
        return;
    struct alert_finding finding;
    t->fact.held_ms = t->fact.state == ALERT_NONE ? 0 : t->now_ms - t->since_ms;
    enum alert_state to = alert_decide(t->rule, &t->fact, heard_ms, &finding);
    if (t->fact.state == ALERT_NONE && to != ALERT_NONE)
        t->since_ms = t->now_ms;
    t->fired += to == ALERT_FIRING && t->fact.state != ALERT_FIRING;
    t->resolved += to == ALERT_RESOLVED;
    t->fact.state = to == ALERT_RESOLVED ? ALERT_NONE : to;
}

/* Seconds pass; the device beats or is silent. */
static void pass(struct tale *t, int seconds, bool beats)
{
    for (int i = 0; i < seconds; i++) {
        t->now_ms += 1000;
        t->fact.silent_ms = beats ? 0 : t->fact.silent_ms + 1000;
        if (beats)
            t->fact.gone_ms = -1;
        else if (t->fact.gone_ms >= 0)
            t->fact.gone_ms += 1000;
        look(t);
    }
}

static struct tale begin(const struct alert_rule *rule)
{
    struct tale t = {.rule = rule, .fact = fine(), .now_ms = 5000, .link_since_ms = 5000};
    pass(&t, 20, true);
    return t;
}

static void test_tale_of_a_silent_device(void **state)
{
    (void)state;
    struct tale t = begin(&missing);
    pass(&t, 6, false);
    assert_int_equal(t.fired, 0);
    pass(&t, 1, false);
    assert_int_equal(t.fired, 1);
    pass(&t, 100, false);
    assert_int_equal(t.fired, 1); /* one alert, however long */
    pass(&t, 1, true);
    assert_int_equal(t.resolved, 1);
    pass(&t, 100, true);
    assert_int_equal(t.fired, 1);
}

/* The broker is away for a minute: nothing fires while it is, nor before the device has had three beats. */
static void test_tale_of_a_broker(void **state)
{
    (void)state;
    struct tale t = begin(&missing);
    t.link_since_ms = 0;
    pass(&t, 60, false);
    t.link_since_ms = t.now_ms;
    pass(&t, 7, false); /* the first look starts the watch */
    assert_int_equal(t.fired, 0);
    struct tale back = t;
    pass(&back, 100, true);
    assert_int_equal(back.fired, 0);
    pass(&t, 1, false);
    assert_int_equal(t.fired, 1);
    /* and it goes away again: what fires stays, nothing resolves by itself */
    t.link_since_ms = 0;
    pass(&t, 60, false);
    t.link_since_ms = t.now_ms;
    pass(&t, 3, false);
    assert_int_equal(t.fact.state, ALERT_FIRING);
    pass(&t, 1, true);
    assert_int_equal(t.resolved, 1);
}

/* The database fails, or the process is stopped: the same. */
static void test_tale_of_a_database(void **state)
{
    (void)state;
    for (int frozen = 0; frozen < 2; frozen++) {
        struct tale t = begin(&missing);
        if (frozen)
            t.now_ms += 60000;
        else
            alert_watch_break(&t.watch);
        t.fact.silent_ms += 60000;
        pass(&t, 7, false);
        assert_int_equal(t.fired, 0);
        pass(&t, 1, false);
        assert_int_equal(t.fired, 1);
    }
}

static void test_tale_of_a_restarted_server(void **state)
{
    (void)state;
    struct tale t = begin(&missing);
    pass(&t, 10, false);
    assert_int_equal(t.fired, 1);
    t.watch = (struct alert_watch){0};
    t.link_since_ms = t.now_ms + 500;
    pass(&t, 5, false);
    assert_int_equal(t.fact.state, ALERT_FIRING); /* not resolved for want of hearing */
    assert_int_equal(t.fired, 1);
}

static void test_tale_of_a_hot_device(void **state)
{
    (void)state;
    struct tale t = begin(&hot);
    t.fact.margin_c = 4;
    pass(&t, 10, true);
    assert_int_equal(t.fact.state, ALERT_PENDING);
    t.fact.margin_c = 8;
    pass(&t, 1, true);
    assert_int_equal(t.fact.state, ALERT_NONE); /* it did not last */
    t.fact.margin_c = 4;
    pass(&t, 11, true);
    assert_int_equal(t.fired, 1);
    for (int i = 0; i < 50; i++) { /* on the edge */
        t.fact.margin_c = i % 2 == 0 ? 5.5 : 4.5;
        pass(&t, 1, true);
    }
    assert_int_equal(t.fired, 1);
    assert_int_equal(t.resolved, 0);
    pass(&t, 60, false); /* lost while hot: still firing */
    assert_int_equal(t.resolved, 0);
    t.fact.margin_c = 20;
    pass(&t, 1, true);
    assert_int_equal(t.resolved, 1);
}

static void assert_tells(const struct alert_story *story, const char *text)
{
    char summary[ALERT_SUMMARY_SIZE];
    alert_summary(story, summary);
    assert_string_equal(summary, text);
}

static void test_summaries(void **state)
{
    (void)state;
    struct alert_story s = {.kind = ALERT_HEARTBEAT_MISSING,
                            .state = ALERT_FIRING,
                            .device = "edge-3",
                            .threshold = 3,
                            .beat_ms = 2000,
                            .silent_ms = 14500,
                            .margin_c = NAN};
    assert_tells(&s, "edge-3 has not been heard for 14 s; its beat is 2 s");
    s.silent_ms = 3 * 3600 * 1000;
    assert_tells(&s, "edge-3 has not been heard for 3 h; its beat is 2 s");
    s.beat_ms = 2500;
    s.silent_ms = 200 * 1000;
    assert_tells(&s, "edge-3 has not been heard for 3 min; its beat is 2.5 s");
    s.gone = true;
    assert_tells(&s, "edge-3 has not been heard for 3 min: its connection broke");
    s.state = ALERT_RESOLVED;
    s.beat_ms = 2000;
    s.lasted_ms = 15000;
    assert_tells(&s, "edge-3 was not heard for 15 s; its beat is 2 s");

    s = (struct alert_story){
        .kind = ALERT_TEMPERATURE, .state = ALERT_FIRING, .device = "edge-5", .value = 4.25, .threshold = 5};
    s.margin_c = 3.26;
    assert_tells(&s, "edge-5 is 3.3 °C from a trip point; the limit is 5 °C");
    s.margin_c = -1.5;
    assert_tells(&s, "edge-5 is 1.5 °C over a trip point");
    s.margin_c = NAN;
    assert_tells(&s, "edge-5 is 4.2 °C from a trip point; the limit is 5 °C");
    s.state = ALERT_RESOLVED;
    s.margin_c = 30;
    assert_tells(&s, "edge-5 was 4.2 °C from a trip point; the limit is 5 °C");
    s.value = NAN;
    assert_tells(&s, "edge-5 was close to a trip point");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_heartbeat),
        cmocka_unit_test(test_gone),
        cmocka_unit_test(test_grace),
        cmocka_unit_test(test_temperature),
        cmocka_unit_test(test_findings),
        cmocka_unit_test(test_life),
        cmocka_unit_test(test_tale_of_a_silent_device),
        cmocka_unit_test(test_tale_of_a_broker),
        cmocka_unit_test(test_tale_of_a_database),
        cmocka_unit_test(test_tale_of_a_restarted_server),
        cmocka_unit_test(test_tale_of_a_hot_device),
        cmocka_unit_test(test_summaries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
