#include "agent/self/decide.h"

#include "common/base/text.h"

#include <stdio.h>

/* The agent itself gives up in time; these are for one that has lost control of itself. */
enum { REPORT_SLACK_S = 10, PROBATION_SLACK_S = 60 };

static struct decide_plan back(const struct trial *trial, const char *code, const char *detail)
{
    struct decide_plan plan = {.action = DECIDE_BACK, .dir = trial->back};
    plan.verdict.generation = trial->generation;
    (void)text_copy(plan.verdict.bundle, sizeof plan.verdict.bundle, trial->bundle);
    (void)text_copy(plan.verdict.code, sizeof plan.verdict.code, code);
    (void)text_copy(plan.verdict.detail, sizeof plan.verdict.detail, detail);
    return plan;
}

static struct decide_plan on_trial(const struct decide_facts *facts)
{
    const struct trial *trial = facts->trial;
    if (facts->verdict != NULL && text_eq(facts->verdict->bundle, trial->bundle)) /* going back was interrupted */
        return back(trial, facts->verdict->code, facts->verdict->detail);
    if (!facts->current_good)
        return back(trial, "agent_crashed", "the new version is not complete any more, or not a program");
    if (trial->tries <= 0)
        return back(trial, "agent_not_reporting", "the new version was started several times and was never committed");
    return (struct decide_plan){.action = DECIDE_GUARD, .dir = facts->current};
}

struct decide_plan decide(const struct decide_facts *facts)
{
    if (facts->trial != NULL && text_eq(facts->trial->version, facts->current))
        return on_trial(facts);
    /* With a trial that names another version the switch has not happened, or the way back is done. With one that
     * nobody can read it may be the present one: the one before is the safe choice, and the journal knows the rest. */
    if (facts->current[0] != '\0' && facts->current_good && !facts->trial_damaged)
        return (struct decide_plan){.action = DECIDE_VERSION, .dir = facts->current};
    if (facts->current[0] != '\0' && facts->previous[0] != '\0' && facts->previous_good)
        return (struct decide_plan){.action = DECIDE_VERSION, .dir = facts->previous};
    return (struct decide_plan){.action = DECIDE_BASE, .dir = ""};
}

const char *decide_late(const struct trial *trial, int64_t ran_ms, int64_t reported_ms,
                        char ret_detail[TRIAL_DETAIL_SIZE])
{
    if (reported_ms < 0 && ran_ms > ((int64_t)trial->report_s + REPORT_SLACK_S) * 1000) {
        (void)snprintf(ret_detail, TRIAL_DETAIL_SIZE, "the new version has not reported in within %d s",
                       trial->report_s);
        return "agent_not_reporting";
    }
    if (reported_ms > ((int64_t)trial->probation_s + PROBATION_SLACK_S) * 1000) {
        (void)snprintf(ret_detail, TRIAL_DETAIL_SIZE, "the new version has not ended its probation of %d s",
                       trial->probation_s);
        return "agent_not_reporting";
    }
    return NULL;
}
