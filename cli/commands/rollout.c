/* Rollouts: plan, create, look, act. */
#include "cli/rollout.h"
#include "cli/api.h"
#include "cli/commands.h"
#include "cli/events.h"
#include "cli/table.h"

#include "common/base/text.h"

#include <stdio.h>
#include <string.h>

enum { DEVICES_MAX = 1000000, SOAK_MAX = 2592000 };

/* ---- waves: "1", "50%", "100%:soak=5,max-failures=0" ---- */

static enum err wave_bad(struct cli *cli, const char *spec)
{
    return usage_error(cli,
                       "--wave \"%.80s\": a number of devices or a percentage is expected, then what limits it, like "
                       "1:soak=60 or 50%%:soak=60,max-failures=1",
                       spec);
}

static bool wave_size(const char *text, json_t *wave)
{
    char copy[32];
    int64_t devices = 0;
    double percent = 0;
    size_t len = strlen(text);
    if (len == 0 || !text_copy(copy, sizeof copy, text))
        return false;
    if (copy[len - 1] != '%')
        return text_to_i64(copy, 1, DEVICES_MAX, &devices) == ERR_OK &&
               json_object_set_new(wave, "devices", json_integer(devices)) == 0;
    copy[len - 1] = '\0';
    return text_to_f64(copy, 0, 100, &percent) == ERR_OK && percent > 0 &&
           json_object_set_new(wave, "percent", json_real(percent)) == 0;
}

static bool wave_limit(const char *text, json_t *wave)
{
    int64_t value = 0;
    if (text_starts(text, "soak=") && text_to_i64(text + strlen("soak="), 0, SOAK_MAX, &value) == ERR_OK)
        return json_object_set_new(wave, "soak_s", json_integer(value)) == 0;
    if (text_starts(text, "max-failures=") &&
        text_to_i64(text + strlen("max-failures="), 0, DEVICES_MAX, &value) == ERR_OK)
        return json_object_set_new(wave, "max_failures", json_integer(value)) == 0;
    return false;
}

static enum err wave_add(struct cli *cli, const char *spec, json_t *waves)
{
    char copy[128];
    char *rest = NULL;
    json_auto_t *wave = json_object();
    if (!text_copy(copy, sizeof copy, spec))
        return wave_bad(cli, spec);
    char *limits = strchr(copy, ':');
    if (limits != NULL)
        *limits++ = '\0';
    bool ok = wave_size(copy, wave) && (limits == NULL || *limits != '\0');
    for (char *word = limits == NULL ? NULL : strtok_r(limits, ",", &rest); ok && word != NULL;
         word = strtok_r(NULL, ",", &rest))
        ok = wave_limit(word, wave);
    if (!ok)
        return wave_bad(cli, spec);
    return json_array_append(waves, wave) == 0 ? ERR_OK : ERR_NO_MEMORY;
}

/* NewRollout of the API, from the options. */
static enum err request_make(struct cli *cli, json_t **ret_body)
{
    const char *item = NULL;
    json_auto_t *waves = json_array();
    json_auto_t *canaries = json_array();
    json_auto_t *body = json_pack("{s:s}", "bundle", option_text(cli, "bundle"));
    enum err e = ERR_OK;
    if (option_given(cli, "query") == option_given(cli, "all"))
        return usage_error(cli, "one of --query and --all must say which devices");
    for (size_t i = 0; e == ERR_OK && (item = option_item(cli, "wave", i)) != NULL; i++)
        e = wave_add(cli, item, waves);
    for (size_t i = 0; e == ERR_OK && (item = option_item(cli, "canary", i)) != NULL; i++)
        e = json_array_append_new(canaries, json_string(item)) == 0 ? ERR_OK
                                                                    : usage_error(cli, "--canary is not UTF-8");
    if (e != ERR_OK)
        return e;
    body_text(body, "q", option_text(cli, "query"));
    if (option_given(cli, "all"))
        (void)!json_object_set_new(body, "all", json_true());
    if (json_array_size(waves) > 0)
        (void)!json_object_set(body, "waves", waves);
    if (json_array_size(canaries) > 0)
        (void)!json_object_set(body, "canaries", canaries);
    body_int(cli, body, "probation_s", "probation");
    if (body == NULL)
        return usage_error(cli, "--bundle is not UTF-8");
    *ret_body = json_incref(body);
    return ERR_OK;
}

/* ---- plan, create ---- */

static void plan_print(const json_t *json)
{
    static const struct column head[] = {{"Slot", "slot", cell_text},
                                         {"Version", "version", cell_text},
                                         {"Bundle", "bundle", cell_text},
                                         {"Devices", "total", cell_text}};
    static const struct column waves[] = {{"WAVE", "n", cell_text}, {"DEVICES", "devices", cell_text}};
    static const struct column excluded[] = {{"LEFT OUT", "count", cell_text}, {"WHY", "reason", cell_text}};
    const json_t *left_out = json_object_get(json, "excluded");
    const json_t *warnings = json_object_get(json, "warnings");
    fields_print(json, COLUMNS(head));
    puts("");
    table_print(json_object_get(json, "waves"), COLUMNS(waves), "no device matches");
    if (json_array_size(left_out) > 0) {
        puts("");
        table_print(left_out, COLUMNS(excluded), "");
    }
    for (size_t i = 0; i < json_array_size(warnings); i++) {
        static const struct column warning[] = {{"Warning", "", cell_text}};
        fields_print(json_array_get(warnings, i), COLUMNS(warning));
    }
}

static enum err rollout_plan(struct cli *cli)
{
    json_t *body = NULL;
    struct api_path path = api_path("/api/v1/rollout-plans", NULL, "");
    enum err e = request_make(cli, &body);
    return e == ERR_OK ? api_show(cli, "POST", &path, body, plan_print) : e;
}

static void created_print(const json_t *json)
{
    const char *id = json_text_or_null(json, "id");
    rollout_print(json);
    printf("\nFollow it: musterctl rollout watch %s\n", id == NULL ? "ID" : id);
}

static enum err rollout_create(struct cli *cli)
{
    json_t *body = NULL;
    struct api_path path = api_path("/api/v1/rollouts", NULL, "");
    enum err e = request_make(cli, &body);
    return e == ERR_OK ? api_show(cli, "POST", &path, body, created_print) : e;
}

/* ---- look ---- */

static void rollouts_print(const json_t *json)
{
    static const struct column columns[] = {
        {"ID", "id", cell_text},        {"SLOT", "slot", cell_text},         {"VERSION", "version", cell_text},
        {"STATE", "state", cell_text},  {"SINCE", "state_since", cell_time}, {"DEVICES", "devices", cell_text},
        {"NOW", "counts", cell_counts}, {"BY", "created_by", cell_text},
    };
    table_print(json_object_get(json, "rollouts"), COLUMNS(columns), "no rollouts yet");
}

static enum err rollout_list(struct cli *cli)
{
    struct api_path path = api_path("/api/v1/rollouts", NULL, "");
    api_page(cli, &path);
    return api_show(cli, "GET", &path, NULL, rollouts_print);
}

static enum err rollout_show(struct cli *cli)
{
    struct api_path path = api_path("/api/v1/rollouts/", cli->words[0], "");
    return api_show(cli, "GET", &path, NULL, rollout_print);
}

static void assignments_print(const json_t *json)
{
    static const struct column columns[] = {
        {"WAVE", "wave", cell_text},   {"DEVICE", "name", cell_text},      {"SITE", "site", cell_text},
        {"STATE", "state", cell_text}, {"SINCE", "state_since", cell_ago}, {"STAGE", "stage", cell_text},
        {"CODE", "code", cell_text},   {"DETAIL", "detail", cell_text},    {"LEFT", "device_left", cell_text},
    };
    table_print(json_object_get(json, "assignments"), COLUMNS(columns), "no devices");
}

static enum err rollout_devices(struct cli *cli)
{
    struct api_path path = api_path("/api/v1/rollouts/", cli->words[0], "/devices");
    api_query(&path, "state", option_text(cli, "state"));
    return api_show(cli, "GET", &path, NULL, assignments_print);
}

static enum err rollout_events(struct cli *cli)
{
    struct api_path path = api_path("/api/v1/rollouts/", cli->words[0], "/events");
    api_page(cli, &path);
    return api_show(cli, "GET", &path, NULL, events_print);
}

/* ---- act: the last word of the command's name is the action ---- */

static enum err rollout_act(struct cli *cli)
{
    char action[32];
    (void)snprintf(action, sizeof action, "/%s", strrchr(cli->command->name, ' ') + 1);
    struct api_path path = api_path("/api/v1/rollouts/", cli->words[0], action);
    json_t *body = json_object();
    body_text(body, "reason", option_text(cli, "reason"));
    return api_show(cli, "POST", &path, body, rollout_print);
}

/* ---- the table ---- */

static const struct option new_options[] = {
    {"bundle", OPTION_TEXT, "BUNDLE", "SLOT@VERSION or id", true, 0, 0},
    {"query", OPTION_TEXT, "QUERY", "devices that match, as in `device list`", false, 0, 0},
    {"all", OPTION_FLAG, NULL, "every device", false, 0, 0},
    {"wave", OPTION_LIST, "SPEC", "N or N%, then :soak=SECONDS,max-failures=N", false, 0, 0},
    {"canary", OPTION_LIST, "NAME", "this device must be in the first wave", false, 0, 0},
    {"probation", OPTION_INT, "SECONDS", "how long a device must run it well (default: 30)", false, 0, 86400},
    {.name = NULL},
};

static const struct option devices_options[] = {
    {"state", OPTION_TEXT, "STATE", "only those, like failed or waiting", false, 0, 0},
    {.name = NULL},
};

static const struct option reason_options[] = {
    {"reason", OPTION_TEXT, "TEXT", "why; everybody sees it", false, 0, 0},
    {.name = NULL},
};

static const struct option reason_needed_options[] = {
    {"reason", OPTION_TEXT, "TEXT", "why; everybody sees it", true, 0, 0},
    {.name = NULL},
};

static const char waves_help[] =
    "Each --wave takes up to N devices, or up to N% of all, and the last one must be 100%. Without --wave: 1 device,\n"
    "50 %, 100 %. After a wave's devices run the bundle well, it soaks; more failures than max-failures stop the "
    "rollout.";

const struct command commands_rollout[] = {
    {"rollout plan", "", 0, 0, new_options, "Show what a rollout would do, and do nothing", waves_help,
     "musterctl rollout plan --bundle digits@2.0.0 --query 'site:berlin'", rollout_plan},
    {"rollout create", "", 0, 0, new_options, "Bring a bundle to devices, wave by wave", waves_help,
     "musterctl rollout create --bundle digits@2.0.0 --all\n"
     "musterctl rollout create --bundle digits@2.0.0 --query 'site:berlin' --canary edge-1 \\\n"
     "    --wave 1:soak=60 --wave 50%:soak=60,max-failures=1 --wave 100%",
     rollout_create},
    {"rollout list", "", 0, 0, options_page, "List rollouts, newest first", "", "musterctl rollout list", rollout_list},
    {"rollout show", "ID", 1, 1, NULL, "Show one rollout and its waves", "", "musterctl rollout show 2", rollout_show},
    {"rollout devices", "ID", 1, 1, devices_options, "List a rollout's devices by wave", "",
     "musterctl rollout devices 2 --state failed", rollout_devices},
    {"rollout events", "ID", 1, 1, options_page, "Every step of a rollout and its reason, newest first", "",
     "musterctl rollout events 2", rollout_events},
    {"rollout pause", "ID", 1, 1, reason_options, "Stop new offers; running steps finish", "",
     "musterctl rollout pause 2 --reason \"looking at latency\"", rollout_act},
    {"rollout resume", "ID", 1, 1, reason_options, "Go on with a paused rollout", "", "musterctl rollout resume 2",
     rollout_act},
    {"rollout abort", "ID", 1, 1, reason_needed_options, "End a rollout where it is", "Devices keep what they run.",
     "musterctl rollout abort 2 --reason \"wrong bundle\"", rollout_act},
    {"rollout rollback", "ID", 1, 1, reason_needed_options, "Return a rollout's devices to what they ran before",
     "Devices keep their previous version, so nothing is downloaded.",
     "musterctl rollout rollback 2 --reason \"accuracy fell\"", rollout_act},
    {.name = NULL},
};
