#pragma once
/* What a slot runs, whatever its kind: models by the supervisor, apps by agent/apps/, the agent
 * itself by agent/self/. The updater talks to this only,
 * and hears back by updater_ready(), updater_failed(), updater_window() and updater_passed(). Only the loop's thread
 * may call. */

#include "agent/apps/apps.h"
#include "agent/core/update.h"
#include "agent/self/self.h"
#include "agent/supervise/supervisor.h"

/* Borrowed parts. */
struct runner {
    struct supervisor *supervisor;
    struct apps *apps;
    struct self *self;
};

/* How long a kind may take, and how its failure to start is told. */
struct runner_limits {
    int64_t start_ms;   /* for the target to run */
    int64_t restore_ms; /* for the committed version to run again */
    const char *code;   /* api/mqtt.md */
    const char *detail; /* for people */
};

/* Makes the links follow the row, and what runs follow the links; starting goes on afterwards. ERR_NOT_FOUND,
 * ERR_CORRUPT: the version that is to be current is not complete. */
[[nodiscard]] enum err runner_run(const struct runner *runner, const struct update_row *row);

/* Makes the target current on the disk only. */
[[nodiscard]] enum err runner_switch(const struct runner *runner, const struct update_row *row);

/* The bundle that really runs in the slot, proven by digests; NULL when none does. */
const char *runner_running(const struct runner *runner, const char *slot);

/* This bundle runs in the slot; "": nothing has to. */
bool runner_runs(const struct runner *runner, const char *slot, const char *bundle);

/* The same, and it has done what a target has to do before its probation begins. */
bool runner_ready(const struct runner *runner, const char *slot, const char *bundle);

/* The row's target was taken back while the agent did not run: why. The row may be changed, see self_verdict(). */
bool runner_verdict(const struct runner *runner, struct update_row *row, struct verdict *ret_verdict);

/* The slot's probation is over: what it has counted, or a last look, comes by a hook. */
void runner_collect(const struct runner *runner, const char *slot);

struct runner_limits runner_limits(const struct runner *runner, const char *slot);
