#pragma once
/* Asks the running agent on its socket (agent/desk.c). The working directory is the state directory. */

#include "common/base/json.h"

/* Sends the request and reads one answer; json_decref() it. ERR_NOT_FOUND: no agent runs here; ERR_FORBIDDEN: not for
 * this user; ERR_TIMEOUT, ERR_UNAVAILABLE: one runs and does not answer. Text in info. Blocks, ten seconds at most. */
[[nodiscard]] enum err ask_agent(const json_t *request, json_t **ret_answer, struct err_info *info);
