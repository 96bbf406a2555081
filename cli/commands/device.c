/* Devices: what they are, and holding them. */
#include "cli/api.h"
#include "cli/commands.h"
#include "cli/events.h"
#include "cli/table.h"

#include "common/base/cleanup.h"
#include "common/base/text.h"

#include <stdio.h>
#include <string.h>

enum { QUERY_MAX = 2000 };

/* "digits@1.0.0", and what is going on when it is not just running. */
static void slot_add(const json_t *slot, struct buf *out)
{
    const char *version = json_text_or_null(slot, "running_version");
    const char *target = json_text_or_null(slot, "target_version");
    const char *phase = json_text_or_null(slot, "phase");
    (void)!buf_addf(out, "%s@%s", json_text_or_null(slot, "slot"), version == NULL ? "-" : version);
    if (phase == NULL || text_eq(phase, "running") || text_eq(phase, "empty"))
        return;
    (void)!buf_addf(out, " (%s %s", target == NULL ? "" : target, phase);
    if (text_eq(phase, "downloading"))
        (void)!buf_addf(out, " %d %%", (int)json_integer_value(json_object_get(slot, "progress")));
    if (json_text_or_null(slot, "code") != NULL)
        (void)!buf_addf(out, ": %s", json_text_or_null(slot, "code"));
    (void)!buf_add_text(out, ")");
}

static void cell_slots(const json_t *slots, struct buf *out)
{
    for (size_t i = 0; i < json_array_size(slots); i++) {
        if (i > 0)
            (void)!buf_add_text(out, ", ");
        slot_add(json_array_get(slots, i), out);
    }
    if (json_array_size(slots) == 0)
        (void)!buf_add_text(out, "-");
}

static void cell_margin(const json_t *value, struct buf *out)
{
    if (json_is_number(value))
        (void)!buf_addf(out, "%.1f K", json_number_value(value));
    else
        (void)!buf_add_text(out, "-");
}

/* ---- list ---- */

static void devices_print(const json_t *json)
{
    static const struct column columns[] = {
        {"NAME", "name", cell_text},
        {"SITE", "site", cell_text},
        {"STATUS", "status", cell_text},
        {"LINK", "liveness", cell_text},
        {"RUNS", "slots", cell_slots},
        {"TO TRIP", "margin_c", cell_margin},
        {"ALERTS", "alerts_firing", cell_text},
        {"LAST SEEN", "last_seen", cell_ago},
    };
    const json_t *devices = json_object_get(json, "devices");
    table_print(devices, COLUMNS(columns), "no devices match");
    if (json_has(json, "next"))
        printf("\n%zu of %lld devices; the next: --after %s\n", json_array_size(devices),
               (long long)json_integer_value(json_object_get(json, "total")), json_text_or_null(json, "next"));
}

/* The words of a query, joined by spaces. */
static enum err query_join(struct cli *cli, char out[QUERY_MAX + 1])
{
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < cli->word_count; i++) {
        int n = snprintf(out + len, QUERY_MAX + 1 - len, "%s%s", i > 0 ? " " : "", cli->words[i]);
        if (n < 0 || (size_t)n > QUERY_MAX - len)
            return usage_error(cli, "the query is longer than %d bytes", QUERY_MAX);
        len += (size_t)n;
    }
    return ERR_OK;
}

static enum err device_list(struct cli *cli)
{
    char query[QUERY_MAX + 1];
    struct api_path path = api_path("/api/v1/devices", NULL, "");
    enum err e = query_join(cli, query);
    if (e != ERR_OK)
        return e;
    api_query(&path, "q", query[0] == '\0' ? NULL : query);
    api_query(&path, "limit", option_text(cli, "limit"));
    api_query(&path, "after", option_text(cli, "after"));
    return api_show(cli, "GET", &path, NULL, devices_print);
}

/* ---- show ---- */

static void device_print(const json_t *json)
{
    static const struct column head[] = {
        {"Device", "name", cell_text},
        {"Id", "id", cell_text},
        {"Site", "site", cell_text},
        {"Status", "status", cell_text},
        {"Why", "why", cell_text},
        {"Link", "liveness", cell_text},
        {"Last seen", "last_seen", cell_ago},
        {"Hardware", "hardware", cell_text},
        {"System", "inventory.os", cell_text},
        {"Kernel", "inventory.kernel", cell_text},
        {"Agent", "agent_version", cell_text},
        {"Tags", "tags", cell_text},
        {"To trip point", "margin_c", cell_margin},
        {"Throttled", "throttled", cell_text},
        {"Alerts firing", "alerts_firing", cell_text},
        {"Beat every", "beat_s", cell_text},
        {"Generation", "generation_seen", cell_text},
        {"Wanted", "generation_desired", cell_text},
        {"Enrolled", "enrolled_at", cell_time},
        {"Certificate to", "certificate.not_after", cell_time},
    };
    static const struct column slots[] = {
        {"SLOT", "slot", cell_text},
        {"PHASE", "phase", cell_text},
        {"RUNS", "running_version", cell_text},
        {"TARGET", "target_version", cell_text},
        {"PREVIOUS", "previous_version", cell_text},
        {"CODE", "code", cell_text},
        {"DETAIL", "detail", cell_text},
        {"REPORTED", "reported_at", cell_ago},
    };
    static const struct column holds[] = {{"HELD BY", "owner", cell_text},
                                          {"SINCE", "since", cell_time},
                                          {"UNTIL", "expires_at", cell_time},
                                          {"THEN", "then", cell_text},
                                          {"REASON", "reason", cell_text}};
    fields_print(json, COLUMNS(head));
    puts("");
    table_print(json_object_get(json, "slots"), COLUMNS(slots), "no slot has a model yet");
    if (json_array_size(json_object_get(json, "holds")) == 0)
        return;
    puts("");
    table_print(json_object_get(json, "holds"), COLUMNS(holds), "");
}

static enum err device_show(struct cli *cli)
{
    struct api_path path = api_path("/api/v1/devices/", cli->words[0], "");
    return api_show(cli, "GET", &path, NULL, device_print);
}

static enum err device_events(struct cli *cli)
{
    struct api_path path = api_path("/api/v1/devices/", cli->words[0], "/events");
    api_page(cli, &path);
    return api_show(cli, "GET", &path, NULL, events_print);
}

/* ---- hold, release ---- */

static void hold_print(const json_t *json)
{
    static const struct column columns[] = {{"Held by", "owner", cell_text},
                                            {"Reason", "reason", cell_text},
                                            {"Until", "expires_at", cell_time},
                                            {"Then", "then", cell_text}};
    fields_print(json, COLUMNS(columns));
}

static enum err device_hold(struct cli *cli)
{
    struct api_path path = api_path("/api/v1/devices/", cli->words[0], "/hold");
    json_t *body = json_pack("{s:s}", "reason", option_text(cli, "reason"));
    if (body == NULL)
        return usage_error(cli, "the reason is not UTF-8");
    body_int(cli, body, "expires_in_s", "expires-in");
    body_text(body, "then", option_text(cli, "then"));
    return api_show(cli, "POST", &path, body, hold_print);
}

static void released_print(const json_t *json)
{
    (void)json;
    puts("released");
}

static enum err device_release(struct cli *cli)
{
    struct api_path path = api_path("/api/v1/devices/", cli->words[0], "/hold");
    return api_show(cli, "DELETE", &path, NULL, released_print);
}

static const struct option list_options[] = {
    {"limit", OPTION_INT, "N", "most rows (default: 100)", false, 1, 500},
    {"after", OPTION_TEXT, "NAME", "begin behind this device", false, 0, 0},
    {.name = NULL},
};

static const struct option hold_options[] = {
    {"reason", OPTION_TEXT, "TEXT", "why; everybody sees it", true, 0, 0},
    {"expires-in", OPTION_INT, "SECONDS", "release it by itself", false, 1, 31536000},
    {"then", OPTION_TEXT, "apply|cancel", "what becomes of the waiting update (default: apply)", false, 0, 0},
    {.name = NULL},
};

const struct command commands_device[] = {
    {"device list", "[QUERY]...", 0, CLI_WORDS_MAX, list_options, "List devices that match a query",
     "Terms are joined by and; - before one negates it; * matches anything. Fields: id name site hardware tag status\n"
     "liveness model (as SLOT@VERSION). A term that begins with -- must stand behind a lone --.",
     "musterctl device list\nmusterctl device list 'site:berlin-*' status:critical -name:edge-1\n"
     "musterctl device list model:digits@1.0.0",
     device_list},
    {"device show", "NAME", 1, 1, NULL, "Show one device", "NAME may be its id.", "musterctl device show edge-1",
     device_show},
    {"device hold", "NAME", 1, 1, hold_options, "Keep a device from switching to another version",
     "Updates are still downloaded and checked, and then wait.",
     "musterctl device hold edge-1 --reason \"shift change\" --expires-in 3600", device_hold},
    {"device release", "NAME", 1, 1, NULL, "Release every hold on a device", "", "musterctl device release edge-1",
     device_release},
    {"device events", "NAME", 1, 1, options_page, "What happened to a device, newest first", "",
     "musterctl device events edge-1 --limit 20", device_events},
    {.name = NULL},
};
