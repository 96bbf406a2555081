#pragma once
/* The thread that moves rollouts: it reads facts, asks the pure core and writes what that decides. Any number of
 * musterd may run one; the leader acts, the others wait. It lives through the loss of the database. */

#include "common/base/conf.h"
#include "common/base/err.h"

struct orchestrator;

/* Called by the orchestrator's thread, after the commit, for a device whose desired document has changed. Must not
 * block. */
typedef void orchestrator_hint(void *arg, const char *device_id);

/* Starts the thread. Settings: database_url, statement_timeout_ms, orchestrator_period_ms. conf, hint and hint_arg must
 * outlive it. hint may be NULL. */
[[nodiscard]] enum err orchestrator_start(const struct conf *conf, orchestrator_hint *hint, void *hint_arg,
                                          struct orchestrator **ret_orchestrator, struct err_info *info);

/* Finishes the step in hand, joins the thread and frees. NULL is fine. */
void orchestrator_stop(struct orchestrator *o);
