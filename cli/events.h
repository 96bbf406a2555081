#pragma once
/* Events of devices and rollouts, shown alike. */

#include "common/base/json.h"

/* An EventPage as a table, newest first. */
void events_print(const json_t *json);
