#pragma once
/* Rollouts, shown alike by several commands. */

#include "common/base/json.h"

/* A Rollout: its head and its waves. */
void rollout_print(const json_t *json);
