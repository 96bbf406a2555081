#pragma once
/* openapi's NewRollout, for the routes that plan and create rollouts. */

#include "server/http/call.h"
#include "server/store/rollout_target.h"

/* Reads the body, with the defaults filled in; the request borrows from it. ERR_INVALID with the field in c->info. */
[[nodiscard]] enum err rollout_body_read(struct call *c, struct rollout_request *ret_request);
