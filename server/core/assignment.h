#pragma once
/* One device in a rollout: its states, what moves it from one to the next, and what a device's beat says about it.
 * Pure. */

#include <stdbool.h>

enum assignment_state {
    ASSIGNMENT_WAITING,
    ASSIGNMENT_OFFERED,
    ASSIGNMENT_DOWNLOADING,
    ASSIGNMENT_STAGED,
    ASSIGNMENT_HELD,
    ASSIGNMENT_APPLYING,
    ASSIGNMENT_PROBATION,
    ASSIGNMENT_SUCCEEDED,
    ASSIGNMENT_FAILED,
    ASSIGNMENT_ROLLED_BACK,
    ASSIGNMENT_REJECTED,
    ASSIGNMENT_CANCELLED,
    ASSIGNMENT_SUPERSEDED,
    ASSIGNMENT_TIMED_OUT,
    ASSIGNMENT_ALREADY_RUNNING,
    ASSIGNMENT_STATES_
};

enum assignment_event {
    ASSIGNMENT_EVENT_OFFER,    /* its wave has begun and the device can be reached */
    ASSIGNMENT_EVENT_DOWNLOAD, /* this and the next four: the device says so */
    ASSIGNMENT_EVENT_STAGE,
    ASSIGNMENT_EVENT_HOLD,
    ASSIGNMENT_EVENT_APPLY,
    ASSIGNMENT_EVENT_PROBE,
    ASSIGNMENT_EVENT_PROVE, /* runs the bundle, by the digest of what is loaded, and has passed probation */
    ASSIGNMENT_EVENT_FAIL,
    ASSIGNMENT_EVENT_REJECT,    /* the bundle does not fit the device */
    ASSIGNMENT_EVENT_CANCEL,    /* before the device began to apply it */
    ASSIGNMENT_EVENT_SUPERSEDE, /* something newer decides about the slot */
    ASSIGNMENT_EVENT_REOPEN,    /* had it, and runs something else now: offer it again */
    ASSIGNMENT_EVENT_RETURN,    /* rollback: runs the previous bundle again, proven */
    ASSIGNMENT_EVENT_STRAND,    /* rollback: cannot go back */
    ASSIGNMENT_EVENTS_
};

/* False, and nothing given, when the event means nothing in that state. */
bool assignment_next(enum assignment_state state, enum assignment_event event, enum assignment_state *ret_next);

bool assignment_in_flight(enum assignment_state state);  /* offered and not at an end */
bool assignment_open(enum assignment_state state);       /* waiting or in flight */
bool assignment_recallable(enum assignment_state state); /* in flight, and the device has not begun to apply it */
bool assignment_failure(enum assignment_state state);    /* at an end that counts against its wave */

/* "already_running"; as in the database and the API. */
const char *assignment_name(enum assignment_state state);
bool assignment_parse(const char *name, enum assignment_state *ret_state);

/* What a device says of a slot (api/mqtt.md, beat). */
enum slot_phase {
    PHASE_EMPTY,
    PHASE_DOWNLOADING,
    PHASE_VERIFYING,
    PHASE_TESTING,
    PHASE_STAGED,
    PHASE_HELD,
    PHASE_SWITCHING,
    PHASE_PROBATION,
    PHASE_RUNNING,
    PHASE_FAILED,
    PHASES_
};
bool slot_phase_parse(const char *name, enum slot_phase *ret_phase);

/* A bundle, seen from an assignment. */
enum which_bundle { BUNDLE_NONE, BUNDLE_THIS, BUNDLE_PREVIOUS, BUNDLE_OTHER };

struct slot_report {
    bool current; /* answers the desired document that was last changed for this assignment, or a newer one */
    enum slot_phase phase;
    enum which_bundle target;
    enum which_bundle running;
    const char *stage; /* the next four with PHASE_FAILED, else NULL; borrowed */
    const char *code;
    const char *detail;
    const char *device_left;
};

/* What the report means for an assignment in flight. False: nothing, or nothing new. */
bool assignment_event_of_report(const struct slot_report *report, enum assignment_event *ret_event);
