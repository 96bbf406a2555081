#pragma once
/* Shared by updater.c (documents, journal, table) and steps.c (what each action does). */

#include "agent/core/retry.h"
#include "agent/update/updater.h"

struct slot {
    struct updater *updater;
    struct update_row row;
    struct fetch fetch;
    struct loop_timer timer; /* next try, end of a hold, end of a probation: by phase */
    struct retry retry;      /* of failures that do not count */
    int64_t began_ms;        /* of the present action */
    bool ready;              /* in probation: muster-infer has loaded the target */
    bool last_window;        /* in probation: its time is over, the last counts are awaited */
    int64_t count, errors;   /* in probation */
};

struct updater {
    struct updater_parts parts;
    char boot_id[64];
    struct desired desired; /* the newest; generation 0: none */
    size_t count;
    struct slot slots[SLOT_COUNT_MAX];
};

/* Gives an event to the table, stores the result and does what follows. detail goes into the report, too; code and
 * detail may be NULL. */
void slot_event(struct slot *slot, enum update_event event, const char *code, const char *detail);

/* Carries out an action. */
void slot_act(struct slot *slot, enum update_action action);

/* Makes the links and muster-infer follow the row; a failure is logged. */
void slot_run(struct slot *slot);

/* Does the present phase's action again after a while. */
void slot_retry(struct slot *slot);

/* Compares the slot with the newest document. */
void slot_reconcile(struct slot *slot);

/* In probation: muster-infer has loaded the target's model (good), or something else; and has counted. */
void probation_ready(struct slot *slot, bool good);
void probation_window(struct slot *slot, int64_t count, int64_t errors);
