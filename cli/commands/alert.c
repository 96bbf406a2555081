/* Alerts. */
#include "cli/api.h"
#include "cli/commands.h"
#include "cli/table.h"

static void alerts_print(const json_t *json)
{
    static const struct column columns[] = {
        {"ID", "id", cell_text},       {"SEVERITY", "severity", cell_text},  {"STATE", "state", cell_text},
        {"KIND", "kind", cell_text},   {"DEVICE", "device.name", cell_text}, {"SITE", "site", cell_text},
        {"SINCE", "since", cell_time}, {"TAKEN BY", "acked_by", cell_text},  {"SUMMARY", "summary", cell_text},
    };
    table_print(json_object_get(json, "alerts"), COLUMNS(columns), "no alerts");
}

static void alert_print(const json_t *json)
{
    static const struct column columns[] = {
        {"Alert", "id", cell_text},           {"Kind", "kind", cell_text},       {"State", "state", cell_text},
        {"Device", "device.name", cell_text}, {"Summary", "summary", cell_text}, {"Since", "since", cell_time},
        {"Taken by", "acked_by", cell_text},  {"Note", "ack_note", cell_text},
    };
    fields_print(json, COLUMNS(columns));
}

static enum err alert_list(struct cli *cli)
{
    struct api_path path = api_path("/api/v1/alerts", NULL, "");
    api_query(&path, "state", option_text(cli, "state"));
    api_query(&path, "device", option_text(cli, "device"));
    api_page(cli, &path);
    return api_show(cli, "GET", &path, NULL, alerts_print);
}

static enum err alert_ack(struct cli *cli)
{
    struct api_path path = api_path("/api/v1/alerts/", cli->words[0], "/ack");
    json_t *body = json_object();
    body_text(body, "note", option_text(cli, "note"));
    return api_show(cli, "POST", &path, body, alert_print);
}

static const struct option list_options[] = {
    {"state", OPTION_TEXT, "STATE", "pending, firing or resolved", false, 0, 0},
    {"device", OPTION_TEXT, "NAME", "only those of this device", false, 0, 0},
    {"limit", OPTION_INT, "N", "most rows (default: 100)", false, 1, 500},
    {"before", OPTION_INT, "ID", "begin behind this one", false, 1, INT64_MAX},
    {.name = NULL},
};

static const struct option ack_options[] = {
    {"note", OPTION_TEXT, "TEXT", "what is being done", false, 0, 0},
    {.name = NULL},
};

const struct command commands_alert[] = {
    {"alert list", "", 0, 0, list_options, "List alerts, newest first", "", "musterctl alert list --state firing",
     alert_list},
    {"alert ack", "ID", 1, 1, ack_options, "Say that you have an alert in hand", "",
     "musterctl alert ack 7 --note \"fan is being replaced\"", alert_ack},
    {.name = NULL},
};
