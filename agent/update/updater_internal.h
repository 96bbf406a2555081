#pragma once
/* Shared by updater.c (documents, journal, table) and steps.c (what each action does). */

#include "agent/core/retry.h"
#include "agent/update/updater.h"
#include "common/bundle/manifest.h"

struct slot {
    struct updater *updater;
    struct update_row row;
    struct fetch fetch;
    struct selftest selftest;
    struct loop_timer timer;       /* next try, end of a hold, end of a probation: by phase */
    struct retry retry;            /* of failures that do not count */
    int64_t began_ms;              /* of the present action */
    int64_t ready_ms;              /* in probation: since when the target runs; monotonic */
    bool ready;                    /* in probation: muster-infer has loaded the target */
    bool last_window;              /* in probation: its time is over, the last counts are awaited */
    int64_t count, errors;         /* in probation */
    int restarts;                  /* in probation: of muster-infer */
    struct manifest_health health; /* in probation: the target's rules */
};

struct updater {
    struct updater_parts parts;
    char boot_id[64];
    struct desired desired; /* the newest; generation 0: none */
    char seen[SHA256_HEX];  /* digest of its text; "": not known */
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

/* Does the present phase's action again after a while, which grows with every failure; at least least_ms. */
void slot_retry(struct slot *slot, int64_t least_ms);

/* Does it again after delay_ms, because somebody else is first. */
void slot_wait(struct slot *slot, int64_t delay_ms);

/* Compares the slot with the newest document. */
void slot_reconcile(struct slot *slot);

/* In probation: muster-infer has loaded the target's model (good), or something else; and has counted. */
void probation_ready(struct slot *slot, bool good);
void probation_window(struct slot *slot, int64_t count, int64_t errors);
/* It has ended, by a code of api/mqtt.md, and is started again by whoever runs it. */
void probation_exited(struct slot *slot, const char *code, const char *detail);
