#pragma once
/* The devices of a rollout that does not exist yet, and their waves: the same choice for the plan that is shown and for
 * the rollout that is created, as long as the fleet is the same. */

#include "server/core/plan.h"
#include "server/db/db.h"

#include <jansson.h>

/* What somebody asks for. All borrowed. */
struct rollout_request {
    const char *bundle; /* id, or slot@version */
    const char *q;      /* selector; NULL: every device, because the creator said so */
    struct plan_wave waves[PLAN_WAVES_MAX];
    size_t wave_count;
    const json_t *canaries; /* array of ids and names; NULL: none */
    int64_t probation_s;
};

struct rollout_targets {
    struct rows *bundle;        /* one row */
    struct rows *devices;       /* of device_select() */
    json_t *ids;                /* theirs */
    char *canaries;             /* JSON text */
    struct rows *standing;      /* row for row the same devices: enum target_column */
    struct plan_device *chosen; /* without those that run it already, in the order of their turn; `row` is theirs */
    size_t chosen_count;
    struct plan_wave waves[PLAN_WAVES_MAX]; /* those that have devices */
    size_t wave_count;
};

/* Columns of `devices` that matter here, and of `standing`. */
enum { DEVICE_ID, DEVICE_NAME, DEVICE_SITE, DEVICE_LIVENESS = 5 };
enum target_column {
    TARGET_ALREADY,  /* runs the bundle, proven, and is meant to */
    TARGET_PREVIOUS, /* where a rollback would go; NULL: nowhere */
    TARGET_HELD,
    TARGET_CANARY
};

/* First half: bundle and devices. Errors: ERR_NOT_FOUND `bundle_not_found`; ERR_INVALID for a wrong query, wave or
 * canary, and `no_devices`. rollout_targets_free() them in any case. */
[[nodiscard]] enum err rollout_targets_find(struct db *db, const struct rollout_request *request,
                                            struct rollout_targets *targets, struct err_info *info);

/* Second half: what the devices run now, and their waves. Errors: ERR_INVALID for a canary that runs the bundle
 * already; ERR_CONFLICT `nothing_to_do` when every device does. */
[[nodiscard]] enum err rollout_targets_choose(struct db *db, const struct rollout_request *request,
                                              struct rollout_targets *targets, struct err_info *info);

/* Unfinished rollouts of the slot, which a new one supersedes: id, version, state. One that is rolling
 * back is left to do so. rows_free() them. */
[[nodiscard]] enum err rollout_targets_older(struct db *db, const struct rollout_targets *targets,
                                             struct rows **ret_rows, struct err_info *info);

void rollout_targets_free(struct rollout_targets *targets);
#define cleanup_rollout_targets [[gnu::cleanup(rollout_targets_free)]]

const char *target_bundle_id(const struct rollout_targets *targets);
const char *target_slot(const struct rollout_targets *targets);
const char *target_version(const struct rollout_targets *targets);
