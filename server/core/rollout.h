#pragma once
/* Rollouts and their waves: states, what moves them, and what a person may do. Pure. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum rollout_state {
    ROLLOUT_DRAFT,
    ROLLOUT_AWAITING_APPROVAL,
    ROLLOUT_SCHEDULED,
    ROLLOUT_RUNNING,
    ROLLOUT_PAUSED,
    ROLLOUT_COMPLETED,
    ROLLOUT_ABORTED,
    ROLLOUT_ROLLING_BACK,
    ROLLOUT_ROLLED_BACK,
    ROLLOUT_STATES_
};

enum rollout_event {
    ROLLOUT_EVENT_PAUSE, /* by a person, or because a wave failed */
    ROLLOUT_EVENT_RESUME,
    ROLLOUT_EVENT_ABORT,
    ROLLOUT_EVENT_ROLL_BACK,
    ROLLOUT_EVENT_COMPLETE, /* every assignment has ended */
    ROLLOUT_EVENT_SAFE,     /* every device that can be reached proves its previous bundle again */
    ROLLOUT_EVENTS_
};

/* False, and nothing given, when the event means nothing in that state. */
bool rollout_next(enum rollout_state state, enum rollout_event event, enum rollout_state *ret_next);
const char *rollout_name(enum rollout_state state);
bool rollout_parse(const char *name, enum rollout_state *ret_state);

enum wave_state { WAVE_PENDING, WAVE_RUNNING, WAVE_SOAKING, WAVE_PASSED, WAVE_FAILED, WAVE_INCONCLUSIVE, WAVE_STATES_ };

enum wave_event {
    WAVE_EVENT_START,
    WAVE_EVENT_SETTLE, /* every device that counts has ended: watch them */
    WAVE_EVENT_PASS,
    WAVE_EVENT_FAIL,   /* more failures than allowed, also later, by a device that was away */
    WAVE_EVENT_ASK,    /* ended without a single success: a person decides */
    WAVE_EVENT_RETRY,  /* a person resumed after failures: those so far are accepted */
    WAVE_EVENT_ACCEPT, /* a person resumed without a success: go on to the next wave */
    WAVE_EVENTS_
};

bool wave_next(enum wave_state state, enum wave_event event, enum wave_state *ret_next);
bool wave_begun(enum wave_state state); /* its devices may be offered the bundle */
const char *wave_name(enum wave_state state);
bool wave_parse(const char *name, enum wave_state *ret_state);

/* What a person may do. */
enum rollout_action { ACTION_PAUSE, ACTION_RESUME, ACTION_ABORT, ACTION_ROLLBACK, ROLLOUT_ACTIONS_ };

const char *rollout_action_name(enum rollout_action action);
enum rollout_event rollout_action_event(enum rollout_action action);

struct rollout_situation {
    enum rollout_state state;
    int64_t newer_open; /* id of a newer, unfinished rollout of the same slot; 0: none */
    int64_t wanted;     /* its devices that should run its bundle now */
};

enum { ROLLOUT_REASON_MAX = 400 };

/* Whether it may be done now; if not, ret_reason says why in one sentence, else it is empty. */
bool rollout_may(const struct rollout_situation *situation, enum rollout_action action,
                 char ret_reason[ROLLOUT_REASON_MAX]);
