#include "server/store/fleet.h"

/* openapi's StatusCounts over the rows of a query that joins device_state as t. */
#define STATUS_COUNTS                                                                                                  \
    "jsonb_build_object('healthy', count(*) FILTER (WHERE t.status = 'healthy'),"                                      \
    " 'degraded', count(*) FILTER (WHERE t.status = 'degraded'),"                                                      \
    " 'critical', count(*) FILTER (WHERE t.status = 'critical'),"                                                      \
    " 'offline', count(*) FILTER (WHERE t.status = 'offline'),"                                                        \
    " 'updating', count(*) FILTER (WHERE t.status = 'updating'),"                                                      \
    " 'held', count(*) FILTER (WHERE t.status = 'held'))"

enum err fleet_show(struct db *db, char **ret_json, struct err_info *info)
{
    return db_query_text(db,
                         "SELECT jsonb_build_object('total', count(*), 'status', " STATUS_COUNTS ","
                         " 'alerts_firing', (SELECT count(*) FROM alert WHERE state = 'firing'),"
                         " 'rollouts_open', (SELECT count(*) FROM rollout"
                         "                   WHERE state NOT IN ('completed', 'aborted', 'rolled_back')),"
                         " 'as_of', ms(now())) FROM device_state t",
                         DB_NO_ARGS, ret_json, info);
}

enum err fleet_sites(struct db *db, char **ret_json, struct err_info *info)
{
    return db_query_text(db,
                         "SELECT jsonb_build_object('sites', coalesce(jsonb_agg(jsonb_build_object("
                         " 'id', s.id::text, 'name', s.name, 'devices', n.devices, 'status', n.status)"
                         " ORDER BY s.name), '[]')) FROM site s CROSS JOIN LATERAL ("
                         "  SELECT count(t.device_id) AS devices, " STATUS_COUNTS " AS status"
                         "  FROM device d JOIN device_state t ON t.device_id = d.id WHERE d.site_id = s.id) n",
                         DB_NO_ARGS, ret_json, info);
}
