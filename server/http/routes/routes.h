#pragma once
/* Every resource's routes: one file here exports one table of the same name. Which port serves which table is said in
 * routes.c. */

#include "server/http/call.h"

/* API port */
extern const struct route_table routes_health;
extern const struct route_table routes_session;
extern const struct route_table routes_me;
extern const struct route_table routes_tokens;
extern const struct route_table routes_audit;
extern const struct route_table routes_stream;
extern const struct route_table routes_enrolment_tokens;
extern const struct route_table routes_fleet;
extern const struct route_table routes_devices;
extern const struct route_table routes_telemetry;
extern const struct route_table routes_bundles;
extern const struct route_table routes_uploads;
extern const struct route_table routes_deltas;
extern const struct route_table routes_objects;
extern const struct route_table routes_rollouts;
extern const struct route_table routes_rollout_plans;
extern const struct route_table routes_alerts;

/* device port */
extern const struct route_table routes_enrol;
extern const struct route_table routes_device_desired;
extern const struct route_table routes_device_objects;

/* GET /healthz, the one route that runs in an I/O thread: it has no database and must not wait. */
enum err health_alive(struct call *c);

/* openapi's Me, as an answer: also to a login. */
[[nodiscard]] enum err me_answer(struct call *c, const char *actor, struct grant grant);

/* The tables of a port. Static. */
const struct route_table *const *routes_of_api_port(size_t *ret_count);
const struct route_table *const *routes_of_device_port(size_t *ret_count);
