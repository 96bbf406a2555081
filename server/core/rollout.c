#include "server/core/rollout.h"

#include "common/base/text.h"

#include <inttypes.h>
#include <stdio.h>

#define S(state) (1U << (state))

static const struct {
    unsigned from;
    enum rollout_state to;
} rollout_transitions[ROLLOUT_EVENTS_] = {
    [ROLLOUT_EVENT_PAUSE] = {S(ROLLOUT_RUNNING), ROLLOUT_PAUSED},
    [ROLLOUT_EVENT_RESUME] = {S(ROLLOUT_PAUSED), ROLLOUT_RUNNING},
    [ROLLOUT_EVENT_ABORT] = {S(ROLLOUT_RUNNING) | S(ROLLOUT_PAUSED), ROLLOUT_ABORTED},
    [ROLLOUT_EVENT_ROLL_BACK] = {S(ROLLOUT_RUNNING) | S(ROLLOUT_PAUSED) | S(ROLLOUT_COMPLETED) | S(ROLLOUT_ABORTED),
                                 ROLLOUT_ROLLING_BACK},
    [ROLLOUT_EVENT_COMPLETE] = {S(ROLLOUT_RUNNING), ROLLOUT_COMPLETED},
    [ROLLOUT_EVENT_SAFE] = {S(ROLLOUT_ROLLING_BACK), ROLLOUT_ROLLED_BACK},
};

static const struct {
    unsigned from;
    enum wave_state to;
} wave_transitions[WAVE_EVENTS_] = {
    [WAVE_EVENT_START] = {S(WAVE_PENDING), WAVE_RUNNING},
    [WAVE_EVENT_SETTLE] = {S(WAVE_RUNNING), WAVE_SOAKING},
    [WAVE_EVENT_PASS] = {S(WAVE_SOAKING), WAVE_PASSED},
    [WAVE_EVENT_FAIL] = {S(WAVE_RUNNING) | S(WAVE_SOAKING) | S(WAVE_PASSED), WAVE_FAILED},
    [WAVE_EVENT_ASK] = {S(WAVE_RUNNING), WAVE_INCONCLUSIVE},
    [WAVE_EVENT_RETRY] = {S(WAVE_FAILED), WAVE_RUNNING},
    [WAVE_EVENT_ACCEPT] = {S(WAVE_INCONCLUSIVE), WAVE_PASSED},
};

static const char *const rollout_names[ROLLOUT_STATES_] = {
    [ROLLOUT_DRAFT] = "draft",
    [ROLLOUT_AWAITING_APPROVAL] = "awaiting_approval",
    [ROLLOUT_SCHEDULED] = "scheduled",
    [ROLLOUT_RUNNING] = "running",
    [ROLLOUT_PAUSED] = "paused",
    [ROLLOUT_COMPLETED] = "completed",
    [ROLLOUT_ABORTED] = "aborted",
    [ROLLOUT_ROLLING_BACK] = "rolling_back",
    [ROLLOUT_ROLLED_BACK] = "rolled_back",
};

static const char *const wave_names[WAVE_STATES_] = {
    [WAVE_PENDING] = "pending", [WAVE_RUNNING] = "running", [WAVE_SOAKING] = "soaking",
    [WAVE_PASSED] = "passed",   [WAVE_FAILED] = "failed",   [WAVE_INCONCLUSIVE] = "inconclusive",
};

static const struct {
    const char *name;
    const char *done; /* "Only a running or paused rollout can be aborted" */
    const char *from;
    enum rollout_event event;
} actions[ROLLOUT_ACTIONS_] = {
    [ACTION_PAUSE] = {"pause", "paused", "running", ROLLOUT_EVENT_PAUSE},
    [ACTION_RESUME] = {"resume", "resumed", "paused", ROLLOUT_EVENT_RESUME},
    [ACTION_ABORT] = {"abort", "aborted", "running or paused", ROLLOUT_EVENT_ABORT},
    [ACTION_ROLLBACK] = {"rollback", "rolled back", "running, paused, completed or aborted", ROLLOUT_EVENT_ROLL_BACK},
};

bool rollout_next(enum rollout_state state, enum rollout_event event, enum rollout_state *ret_next)
{
    if ((rollout_transitions[event].from & S(state)) == 0)
        return false;
    *ret_next = rollout_transitions[event].to;
    return true;
}

const char *rollout_name(enum rollout_state state)
{
    return rollout_names[state];
}

bool rollout_parse(const char *name, enum rollout_state *ret_state)
{
    int i = text_index(name, rollout_names, ROLLOUT_STATES_);
    if (i < 0)
        return false;
    *ret_state = (enum rollout_state)i;
    return true;
}

bool wave_next(enum wave_state state, enum wave_event event, enum wave_state *ret_next)
{
    if ((wave_transitions[event].from & S(state)) == 0)
        return false;
    *ret_next = wave_transitions[event].to;
    return true;
}

bool wave_begun(enum wave_state state)
{
    return state == WAVE_RUNNING || state == WAVE_SOAKING || state == WAVE_PASSED;
}

const char *wave_name(enum wave_state state)
{
    return wave_names[state];
}

bool wave_parse(const char *name, enum wave_state *ret_state)
{
    int i = text_index(name, wave_names, WAVE_STATES_);
    if (i < 0)
        return false;
    *ret_state = (enum wave_state)i;
    return true;
}

const char *rollout_action_name(enum rollout_action action)
{
    return actions[action].name;
}

enum rollout_event rollout_action_event(enum rollout_action action)
{
    return actions[action].event;
}

/* "rolling_back" -> "rolling back" */
static void say_state(enum rollout_state state, char *out, size_t size)
{
    (void)text_copy(out, size, rollout_names[state]);
    for (char *c = out; *c != '\0'; c++)
        *c = *c == '_' ? ' ' : *c;
}

/* Nothing more will be offered. */
static bool ended(enum rollout_state state)
{
    return state == ROLLOUT_COMPLETED || state == ROLLOUT_ABORTED;
}

bool rollout_may(const struct rollout_situation *situation, enum rollout_action action,
                 char ret_reason[ROLLOUT_REASON_MAX])
{
    enum rollout_state next;
    char state[32];
    say_state(situation->state, state, sizeof state);
    ret_reason[0] = '\0';
    if (!rollout_next(situation->state, actions[action].event, &next))
        (void)snprintf(ret_reason, ROLLOUT_REASON_MAX, "Only a %s rollout can be %s; this one is %s.",
                       actions[action].from, actions[action].done, state);
    else if (action == ACTION_ROLLBACK && situation->newer_open != 0)
        (void)snprintf(ret_reason, ROLLOUT_REASON_MAX,
                       "Rollout %" PRId64 " is newer and decides about this slot; abort it or roll it back first.",
                       situation->newer_open);
    else if (action == ACTION_ROLLBACK && situation->wanted == 0 && ended(situation->state))
        (void)snprintf(ret_reason, ROLLOUT_REASON_MAX,
                       "None of its devices is meant to run its bundle now: there is nothing to roll back.");
    return ret_reason[0] == '\0';
}
