#pragma once
/* Alerts: what the engine looks at and writes, and what people read and acknowledge. */

#include "server/core/alert.h"
#include "server/core/device_id.h"
#include "server/db/db.h"

#include <jansson.h>

/* ---------------------------------------------------------------- for the engine, inside its transaction */

/* One rule on one device, where something may have to be decided: an alert is open, or the newest beat, or the lack of
 * one, gives a reason to look. */
struct alert_look {
    int64_t rule_id;
    int64_t alert_id; /* 0: none is open */
    char device_id[DEVICE_ID_SIZE];
    struct alert_rule rule;
    struct alert_fact fact;
};

/* True until the transaction ends when no other server looks at the moment. Does not wait. */
[[nodiscard]] enum err alert_lock(struct db *db, bool *ret_held, struct err_info *info);

/* By rule and device. free() ret_looks. */
[[nodiscard]] enum err alert_looks(struct db *db, struct alert_look **ret_looks, size_t *ret_count,
                                   struct err_info *info);

struct alert_change {
    const struct alert_look *look; /* its fact.state is what the alert comes from */
    enum alert_state to;           /* another state */
    struct alert_finding finding;
};

/* Writes all of them, each only if the alert is still in the state it comes from, with an event "alert.state" for every
 * one that fires or is resolved. A pending one that did not last is deleted. ret_told: how many events. */
[[nodiscard]] enum err alert_apply(struct db *db, const struct alert_change *changes, size_t count, size_t *ret_told,
                                   struct err_info *info);

/* ---------------------------------------------------------------- for people */

struct alert_filter {
    const char *state;  /* NULL: any */
    const char *device; /* id or name; NULL: any */
    int64_t limit;
    int64_t before_id; /* 0: from the newest */
};

/* JSON of openapi's listAlerts. free() it. */
[[nodiscard]] enum err alert_list(struct db *db, const struct alert_filter *filter, char **ret_json,
                                  struct err_info *info);

/* openapi's Alert; json_decref() it. ERR_NOT_FOUND. */
[[nodiscard]] enum err alert_get(struct db *db, int64_t id, json_t **ret_alert, struct err_info *info);

/* Inside the caller's transaction. note NULL: none; a later acknowledgement replaces an earlier one. ERR_NOT_FOUND;
 * ERR_CONFLICT with code `alert_resolved`. */
[[nodiscard]] enum err alert_ack(struct db *db, int64_t id, const char *actor, const char *note, struct err_info *info);
