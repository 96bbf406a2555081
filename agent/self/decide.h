#pragma once
/* Which version of the agent is to run? Pure. */

#include "agent/self/trial.h"

/* What the disk says. Directories are below slots/agent; "": there is none. */
struct decide_facts {
    const struct trial *trial;        /* NULL: none is open */
    bool trial_damaged;               /* there is one, but nobody can say which */
    const struct verdict *verdict;    /* NULL: there is none */
    const char *current, *previous;   /* what the links name */
    bool current_good, previous_good; /* complete, unharmed, and a program */
};

enum decide_action {
    DECIDE_BASE,    /* the installed program itself */
    DECIDE_VERSION, /* the one in dir */
    DECIDE_GUARD,   /* the one on trial, in dir, as a child that is watched */
    DECIDE_BACK     /* take the one on trial back first, for the verdict; then decide anew */
};

struct decide_plan {
    enum decide_action action;
    const char *dir;        /* borrowed from the facts */
    struct verdict verdict; /* of DECIDE_BACK */
};

struct decide_plan decide(const struct decide_facts *facts);

/* What happens next to a version on trial that has run for ran_ms; reported_ms: for how long it has been reported, -1:
 * not yet. NULL: it goes on; else the code of its verdict, and why. */
const char *decide_late(const struct trial *trial, int64_t ran_ms, int64_t reported_ms,
                        char ret_detail[TRIAL_DETAIL_SIZE]);
