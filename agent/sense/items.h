#pragma once
/* Readings as items of the spool (api/mqtt.md). Pure. free() the text; ERR_NO_MEMORY is the only error. */

#include "agent/sense/host.h"
#include "agent/sense/sensors.h"

[[nodiscard]] enum err item_health(int64_t t, const struct host_usage *usage, const struct sensors_reading *reading,
                                   char **ret_item);

/* hardware: as configured, "" for what the firmware says. runtime: version of ONNX Runtime, "" when none is known. */
[[nodiscard]] enum err item_inventory(int64_t t, const struct host_facts *facts, const struct host_usage *usage,
                                      const char *hardware, const char *runtime, char **ret_item);
