#include "server/core/assignment.h"

#include "common/base/text.h"

#define S(state) (1U << (state))

enum {
    RECALLABLE = S(ASSIGNMENT_OFFERED) | S(ASSIGNMENT_DOWNLOADING) | S(ASSIGNMENT_STAGED) | S(ASSIGNMENT_HELD),
    IN_FLIGHT = RECALLABLE | S(ASSIGNMENT_APPLYING) | S(ASSIGNMENT_PROBATION),
    OPEN = S(ASSIGNMENT_WAITING) | IN_FLIGHT,
    HAS_IT = S(ASSIGNMENT_SUCCEEDED) | S(ASSIGNMENT_ALREADY_RUNNING),
    FAILURES = S(ASSIGNMENT_FAILED) | S(ASSIGNMENT_REJECTED) | S(ASSIGNMENT_TIMED_OUT),
};

/* The whole state machine: an event leads to one state, from any of these. */
static const struct {
    unsigned from;
    enum assignment_state to;
} transitions[ASSIGNMENT_EVENTS_] = {
    [ASSIGNMENT_EVENT_OFFER] = {S(ASSIGNMENT_WAITING), ASSIGNMENT_OFFERED},
    /* A device that lost what it had staged starts again: reports may go back. */
    [ASSIGNMENT_EVENT_DOWNLOAD] = {IN_FLIGHT, ASSIGNMENT_DOWNLOADING},
    [ASSIGNMENT_EVENT_STAGE] = {IN_FLIGHT, ASSIGNMENT_STAGED},
    [ASSIGNMENT_EVENT_HOLD] = {IN_FLIGHT, ASSIGNMENT_HELD},
    [ASSIGNMENT_EVENT_APPLY] = {IN_FLIGHT, ASSIGNMENT_APPLYING},
    [ASSIGNMENT_EVENT_PROBE] = {IN_FLIGHT, ASSIGNMENT_PROBATION},
    [ASSIGNMENT_EVENT_PROVE] = {IN_FLIGHT, ASSIGNMENT_SUCCEEDED},
    [ASSIGNMENT_EVENT_FAIL] = {IN_FLIGHT, ASSIGNMENT_FAILED},
    [ASSIGNMENT_EVENT_REJECT] = {IN_FLIGHT, ASSIGNMENT_REJECTED},
    [ASSIGNMENT_EVENT_CANCEL] = {S(ASSIGNMENT_WAITING) | RECALLABLE, ASSIGNMENT_CANCELLED},
    [ASSIGNMENT_EVENT_SUPERSEDE] = {OPEN | HAS_IT, ASSIGNMENT_SUPERSEDED},
    [ASSIGNMENT_EVENT_REOPEN] = {HAS_IT, ASSIGNMENT_OFFERED},
    [ASSIGNMENT_EVENT_RETURN] = {IN_FLIGHT | HAS_IT | S(ASSIGNMENT_FAILED), ASSIGNMENT_ROLLED_BACK},
    [ASSIGNMENT_EVENT_STRAND] = {IN_FLIGHT | HAS_IT, ASSIGNMENT_FAILED},
};

static const char *const state_names[ASSIGNMENT_STATES_] = {
    [ASSIGNMENT_WAITING] = "waiting",
    [ASSIGNMENT_OFFERED] = "offered",
    [ASSIGNMENT_DOWNLOADING] = "downloading",
    [ASSIGNMENT_STAGED] = "staged",
    [ASSIGNMENT_HELD] = "held",
    [ASSIGNMENT_APPLYING] = "applying",
    [ASSIGNMENT_PROBATION] = "probation",
    [ASSIGNMENT_SUCCEEDED] = "succeeded",
    [ASSIGNMENT_FAILED] = "failed",
    [ASSIGNMENT_ROLLED_BACK] = "rolled_back",
    [ASSIGNMENT_REJECTED] = "rejected",
    [ASSIGNMENT_CANCELLED] = "cancelled",
    [ASSIGNMENT_SUPERSEDED] = "superseded",
    [ASSIGNMENT_TIMED_OUT] = "timed_out",
    [ASSIGNMENT_ALREADY_RUNNING] = "already_running",
};

static const char *const phase_names[PHASES_] = {
    [PHASE_EMPTY] = "empty",         [PHASE_DOWNLOADING] = "downloading", [PHASE_VERIFYING] = "verifying",
    [PHASE_TESTING] = "testing",     [PHASE_STAGED] = "staged",           [PHASE_HELD] = "held",
    [PHASE_SWITCHING] = "switching", [PHASE_PROBATION] = "probation",     [PHASE_RUNNING] = "running",
    [PHASE_FAILED] = "failed",
};

bool assignment_next(enum assignment_state state, enum assignment_event event, enum assignment_state *ret_next)
{
    enum assignment_state to = transitions[event].to;
    if ((transitions[event].from & S(state)) == 0 || state == to)
        return false;
    *ret_next = to;
    return true;
}

bool assignment_in_flight(enum assignment_state state)
{
    return (S(state) & IN_FLIGHT) != 0;
}

bool assignment_open(enum assignment_state state)
{
    return (S(state) & OPEN) != 0;
}

bool assignment_recallable(enum assignment_state state)
{
    return (S(state) & RECALLABLE) != 0;
}

bool assignment_failure(enum assignment_state state)
{
    return (S(state) & FAILURES) != 0;
}

const char *assignment_name(enum assignment_state state)
{
    return state_names[state];
}

bool assignment_parse(const char *name, enum assignment_state *ret_state)
{
    int i = text_index(name, state_names, ASSIGNMENT_STATES_);
    if (i < 0)
        return false;
    *ret_state = (enum assignment_state)i;
    return true;
}

bool slot_phase_parse(const char *name, enum slot_phase *ret_phase)
{
    int i = text_index(name, phase_names, PHASES_);
    if (i < 0)
        return false;
    *ret_phase = (enum slot_phase)i;
    return true;
}

/* The device is well, the bundle is not for it. */
static bool does_not_fit(const char *code)
{
    static const char *const codes[] = {"does_not_fit", "agent_too_old", "disk_full", "runtime_unfit"};
    return text_index(code, codes, sizeof codes / sizeof codes[0]) >= 0;
}

bool assignment_event_of_report(const struct slot_report *report, enum assignment_event *ret_event)
{
    static const enum assignment_event events[PHASES_] = {
        [PHASE_EMPTY] = ASSIGNMENT_EVENTS_,
        [PHASE_DOWNLOADING] = ASSIGNMENT_EVENT_DOWNLOAD,
        [PHASE_VERIFYING] = ASSIGNMENT_EVENT_DOWNLOAD,
        [PHASE_TESTING] = ASSIGNMENT_EVENT_DOWNLOAD,
        [PHASE_STAGED] = ASSIGNMENT_EVENT_STAGE,
        [PHASE_HELD] = ASSIGNMENT_EVENT_HOLD,
        [PHASE_SWITCHING] = ASSIGNMENT_EVENT_APPLY,
        [PHASE_PROBATION] = ASSIGNMENT_EVENT_PROBE,
        [PHASE_RUNNING] = ASSIGNMENT_EVENT_PROVE,
        [PHASE_FAILED] = ASSIGNMENT_EVENT_FAIL,
    };
    if (!report->current || report->target != BUNDLE_THIS || events[report->phase] == ASSIGNMENT_EVENTS_)
        return false;
    if (report->phase == PHASE_RUNNING && report->running != BUNDLE_THIS)
        return false; /* committed, but not proven: the beat must name the digest that is loaded */
    bool rejected =
        report->phase == PHASE_FAILED && does_not_fit(report->code) && text_eq(report->device_left, "no_change");
    *ret_event = rejected ? ASSIGNMENT_EVENT_REJECT : events[report->phase];
    return true;
}
