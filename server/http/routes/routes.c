#include "server/http/routes/routes.h"

const struct route_table *const *routes_of_api_port(size_t *ret_count)
{
    static const struct route_table *const tables[] = {
        &routes_health,   &routes_session,       &routes_me,      &routes_tokens,    &routes_audit,
        &routes_stream,   &routes_fleet,         &routes_devices, &routes_telemetry, &routes_enrolment_tokens,
        &routes_bundles,  &routes_uploads,       &routes_deltas,  &routes_objects,   &routes_alerts,
        &routes_rollouts, &routes_rollout_plans,
    };
    *ret_count = sizeof tables / sizeof tables[0];
    return tables;
}

const struct route_table *const *routes_of_device_port(size_t *ret_count)
{
    static const struct route_table *const tables[] = {&routes_health, &routes_enrol, &routes_device_desired,
                                                       &routes_device_objects};
    *ret_count = sizeof tables / sizeof tables[0];
    return tables;
}
