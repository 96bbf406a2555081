#pragma once
/* What a rollout does next. Pure: facts in, decisions out; the same facts give the same decisions.
 *
 * In one call each device, each wave and the rollout make at most one step. */

#include "common/base/err.h"
#include "server/core/assignment.h"
#include "server/core/rollout.h"

/* At most so many devices are offered a bundle in one call: a wave of any size starts smoothly. */
enum { DECIDE_OFFERS_MAX = 1000 };

struct wave_fact { /* all text in facts is borrowed */
    enum wave_state state;
    int64_t since_ms;
    int64_t soak_s;
    int64_t max_failures;
    int64_t accepted;                  /* failures that a person has gone on from */
    int64_t count[ASSIGNMENT_STATES_]; /* all its assignments */
    const char *first_failure;         /* one line about the earliest; NULL: none */
};

/* A device about which something could be decided now. Devices of waves that have not begun, and devices at an end
 * that nothing can change, need not be among the facts; they are in the counts. */
struct device_fact {
    const char *name;
    int wave; /* from 1 */
    enum assignment_state state;
    bool reachable;
    bool hold_cancels; /* a hold on it has run out that says: then cancel */
    bool stranded;     /* failed, and the device could not go back by itself */
    bool has_previous; /* there is a bundle to go back to */
    enum which_bundle desired;
    bool owned; /* the desired bundle was set by this rollout or an older one; a newer one's is left alone */
    struct slot_report report;
};

struct rollout_facts {
    enum rollout_state state;
    bool superseded; /* ROLLOUT_ABORTED because of a newer rollout */
    int64_t now_ms;
    const struct wave_fact *waves; /* wave n is at n - 1 */
    size_t wave_count;
    const struct device_fact *devices;
    size_t device_count;
};

/* What becomes of the device's desired bundle in the rollout's slot. */
enum desired_change {
    DESIRED_KEEP,
    DESIRED_OFFER,  /* this rollout's bundle, holdable */
    DESIRED_RETURN, /* the previous bundle, not holdable */
    DESIRED_CLEAR,  /* nothing any more: the slot was empty before */
};

struct device_decision {
    size_t device;                  /* index in the facts */
    enum assignment_state from, to; /* the same: only the desired bundle changes */
    enum desired_change desired;
    const char *reason; /* a sentence; static or borrowed from the facts */
    /* With a state that is a failure: what the assignment keeps about it. Static or borrowed; may be NULL. */
    const char *stage, *code, *detail, *device_left;
};

struct wave_decision {
    int wave; /* from 1 */
    enum wave_state from, to;
    char reason[ROLLOUT_REASON_MAX];
};

struct decisions {
    struct device_decision *devices;
    size_t device_count;
    struct wave_decision *waves;
    size_t wave_count;
    bool moves; /* the rollout goes to `to` */
    enum rollout_state to;
    char reason[ROLLOUT_REASON_MAX];
};

/* ERR_NO_MEMORY. decisions_free() the result; it borrows from the facts. */
[[nodiscard]] enum err rollout_decide(const struct rollout_facts *facts, struct decisions *ret_decisions);
void decisions_free(struct decisions *d);

#define cleanup_decisions [[gnu::cleanup(decisions_free)]]
