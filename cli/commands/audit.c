/* Who did what. */
#include "cli/api.h"
#include "cli/commands.h"
#include "cli/table.h"

static void entries_print(const json_t *json)
{
    static const struct column columns[] = {
        {"ID", "id", cell_text},
        {"TIME", "t", cell_time},
        {"ACTOR", "actor", cell_text},
        {"ACTION", "action", cell_text},
        {"TARGET", "target", cell_text},
        {"FROM", "address", cell_text},
        {"REQUEST", "request_id", cell_text},
    };
    table_print(json_object_get(json, "entries"), COLUMNS(columns), "no entries");
}

static enum err audit_list(struct cli *cli)
{
    struct api_path path = api_path("/api/v1/audit", NULL, "");
    api_page(cli, &path);
    return api_show(cli, "GET", &path, NULL, entries_print);
}

const struct command commands_audit[] = {
    {"audit list", "", 0, 0, options_page, "Who did what, newest first", "What changed is in --output json.",
     "musterctl audit list --limit 20", audit_list},
    {.name = NULL},
};
