#include "agent/sense/items.h"

#include "common/base/json.h"
#include "common/base/version.h"

#include <math.h>

static json_t *real_or_null(double value, bool known)
{
    return known ? json_real(value) : json_null();
}

static json_t *bytes_or_null(int64_t bytes)
{
    return bytes < 0 ? json_null() : json_id(bytes);
}

static double round3(double value)
{
    return round(value * 1000.0) / 1000.0;
}

/* {"used", "total"}, or null. */
static json_t *usage_json(int64_t used, int64_t total)
{
    if (used < 0 || total < 0)
        return json_null();
    return json_pack("{so so}", "used", json_id(used), "total", json_id(total));
}

static json_t *temps_json(const struct thermal *thermal)
{
    json_t *temps = json_array();
    for (size_t i = 0; temps != NULL && i < thermal->temp_count; i++) {
        const struct thermal_temp *t = &thermal->temps[i];
        json_t *temp = json_pack("{ss so so}", "name", t->name, "c", real_or_null(t->c, t->read), "trip_c",
                                 real_or_null(t->trip_c, t->has_trip));
        if (json_array_append_new(temps, temp) != 0) {
            json_decref(temps);
            return NULL;
        }
    }
    return temps;
}

enum err item_health(int64_t t, const struct host_usage *usage, const struct sensors_reading *reading, char **ret_item)
{
    json_t *reason = reading->reason[0] == '\0' ? json_null() : json_string(reading->reason);
    json_t *json = json_pack("{ss sI so so so so so sb so so}", "kind", "health", "t", (json_int_t)t, "cpu",
                             real_or_null(round3(usage->cpu), usage->cpu >= 0), "load1",
                             real_or_null(usage->load1, usage->load1 >= 0), "memory",
                             usage_json(usage->memory_used, usage->memory_total), "disk",
                             usage_json(usage->disk_used, usage->disk_total), "temps", temps_json(&reading->thermal),
                             "throttled", reading->thermal.throttled, "throttled_fraction",
                             json_real(round3(reading->fraction)), "throttle_reason", reason);
    enum err e = json_print(json, ret_item, NULL);
    json_decref(json);
    return e;
}

enum err item_inventory(int64_t t, const struct host_facts *facts, const struct host_usage *usage, const char *hardware,
                        const char *runtime, char **ret_item)
{
    json_t *runtimes =
        runtime[0] == '\0' ? json_array() : json_pack("[{ss ss}]", "name", "onnxruntime", "version", runtime);
    json_t *json = json_pack("{ss sI ss ss ss ss ss si so so ss so}", "kind", "inventory", "t", (json_int_t)t,
                             "hostname", facts->hostname, "os", facts->os, "kernel", facts->kernel, "arch", facts->arch,
                             "hardware", hardware[0] != '\0' ? hardware : facts->hardware, "cpus", facts->cpus,
                             "memory_total", bytes_or_null(usage->memory_total), "disk_total",
                             json_id(usage->disk_total), "agent_version", MUSTER_VERSION, "runtimes", runtimes);
    enum err e = json_print(json, ret_item, NULL);
    json_decref(json);
    return e;
}
