/* The fleet as a whole, and its sites. */
#include "cli/api.h"
#include "cli/commands.h"
#include "cli/table.h"

static void fleet_print(const json_t *json)
{
    static const struct column columns[] = {
        {"Devices", "total", cell_text},
        {"Healthy", "status.healthy", cell_text},
        {"Degraded", "status.degraded", cell_text},
        {"Critical", "status.critical", cell_text},
        {"Offline", "status.offline", cell_text},
        {"Updating", "status.updating", cell_text},
        {"Held", "status.held", cell_text},
        {"Alerts firing", "alerts_firing", cell_text},
        {"Rollouts open", "rollouts_open", cell_text},
        {"As of", "as_of", cell_time},
    };
    fields_print(json, COLUMNS(columns));
}

static enum err fleet(struct cli *cli)
{
    struct api_path path = api_path("/api/v1/fleet", NULL, "");
    return api_show(cli, "GET", &path, NULL, fleet_print);
}

static void sites_print(const json_t *json)
{
    static const struct column columns[] = {
        {"SITE", "name", cell_text}, {"DEVICES", "devices", cell_text}, {"STATUS", "status", cell_counts}};
    table_print(json_object_get(json, "sites"), COLUMNS(columns),
                "no sites yet: `musterctl enrol-token create` makes one");
}

static enum err site_list(struct cli *cli)
{
    struct api_path path = api_path("/api/v1/sites", NULL, "");
    return api_show(cli, "GET", &path, NULL, sites_print);
}

const struct command commands_fleet[] = {
    {"fleet", "", 0, 0, NULL, "Count devices by status, alerts and rollouts", "", "musterctl fleet", fleet},
    {"site list", "", 0, 0, NULL, "List sites and the status of their devices", "", "musterctl site list", site_list},
    {.name = NULL},
};
