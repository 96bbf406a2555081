/* Deltas that the server makes between bundles. */
#include "cli/api.h"
#include "cli/commands.h"
#include "cli/table.h"

#include <stdio.h>
#include <string.h>

/* "4.1 MB", or "about 2.6 MB" as long as it was not made. The row's `size` is null then. */
static void cell_delta_size(const json_t *row, struct buf *out)
{
    const json_t *size = json_object_get(row, "size");
    if (!json_is_null(size) && size != NULL) {
        cell_size(size, out);
        return;
    }
    (void)!buf_add_text(out, "about ");
    cell_size(json_object_get(row, "expected"), out);
}

/* What becomes of the pair. */
static void cell_state(const json_t *row, struct buf *out)
{
    const char *state = json_text_or_null(row, "state");
    const char *error = json_text_or_null(row, "error");
    bool none = state == NULL || strcmp(state, "none") == 0;
    (void)!buf_add_text(out, !none                                         ? state
                             : json_is_true(json_object_get(row, "worth")) ? "worth it"
                                                                           : "saves too little");
    if (error != NULL)
        (void)!buf_addf(out, " (%.160s)", error);
}

static const struct column COLUMNS_PLAN[] = {
    {"FROM", "from_version", cell_text},   {"TO", "to_version", cell_text},  {"DEVICES", "devices", cell_text},
    {"IN A ROLLOUT", "active", cell_text}, {"FULL", "full_size", cell_size}, {"DELTA", "", cell_delta_size},
    {"SAVED", "saved", cell_size},         {"STATE", "", cell_state},
};

static const struct column COLUMNS_LIST[] = {
    {"ID", "id", cell_text},
    {"SLOT", "slot", cell_text},
    {"FROM", "from_version", cell_text},
    {"TO", "to_version", cell_text},
    {"DEVICES", "devices", cell_text},
    {"FULL", "full_size", cell_size},
    {"DELTA", "", cell_delta_size},
    {"STATE", "", cell_state},
    {"TRIES", "tries", cell_text},
    {"ASKED BY", "asked_by", cell_text},
    {"FINISHED", "finished_at", cell_time},
};

static void plan_print(const json_t *json)
{
    table_print(json_object_get(json, "deltas"), COLUMNS(COLUMNS_PLAN),
                "no device runs another version of this slot: there is nothing to make a delta from");
}

static void list_print(const json_t *json)
{
    table_print(json_object_get(json, "deltas"), COLUMNS(COLUMNS_LIST),
                "no deltas yet: `musterctl delta plan BUNDLE` shows what there could be");
}

static enum err delta_plan(struct cli *cli)
{
    const struct api_path path = api_path("/api/v1/bundles/", cli->words[0], "/deltas");
    return api_show(cli, "GET", &path, NULL, plan_print);
}

static enum err delta_make(struct cli *cli)
{
    const struct api_path path = api_path("/api/v1/bundles/", cli->words[0], "/deltas");
    const char *from = option_text(cli, "from");
    const char *at = strchr(cli->words[0], '@');
    char named[256];
    if (strchr(from, '@') == NULL && at != NULL) { /* a version of the same slot */
        (void)snprintf(named, sizeof named, "%.*s@%s", (int)(at - cli->words[0]), cli->words[0], from);
        from = named;
    }
    return api_show(cli, "POST", &path, json_pack("{s:s}", "from", from), plan_print);
}

static enum err delta_list(struct cli *cli)
{
    struct api_path path = api_path("/api/v1/deltas", NULL, "");
    api_page(cli, &path);
    return api_show(cli, "GET", &path, NULL, list_print);
}

static const struct option make_options[] = {
    {"from", OPTION_TEXT, "VERSION", "the old bundle: a version of the same slot, SLOT@VERSION or an id", true, 0, 0},
    {.name = NULL},
};

const struct command commands_delta_server[] = {
    {"delta plan", "BUNDLE", 1, 1, NULL, "Which deltas to a bundle the fleet would be better off with",
     "Lists the versions that devices run in the bundle's slot, how many devices, the size of the whole bundle and of\n"
     "the delta (an estimate until it was made), and the bytes saved over all of them. Makes nothing.",
     "musterctl delta plan digits@2.0.0", delta_plan},
    {"delta make", "BUNDLE", 1, 1, make_options, "Have the server make a delta that it would not make by itself",
     "One that failed or was not worth it is tried again.", "musterctl delta make digits@2.0.0 --from 1.0.0",
     delta_make},
    {"delta list", "", 0, 0, options_page, "Deltas that the server has made, makes or was asked for, newest first", "",
     "musterctl delta list", delta_list},
    {.name = NULL},
};
