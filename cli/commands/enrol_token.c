/* Enrolment tokens: what a new device shows to be let in. */
#include "cli/api.h"
#include "cli/commands.h"
#include "cli/secret.h"
#include "cli/table.h"

static void tokens_print(const json_t *json)
{
    static const struct column columns[] = {
        {"ID", "id", cell_text},
        {"SITE", "site", cell_text},
        {"USES LEFT", "uses_left", cell_text},
        {"UNTIL", "expires_at", cell_time},
        {"BY", "created_by", cell_text},
        {"CREATED", "created_at", cell_time},
        {"REVOKED", "revoked_at", cell_time},
    };
    table_print(json_object_get(json, "tokens"), COLUMNS(columns), "no enrolment tokens");
}

static enum err enrol_token_list(struct cli *cli)
{
    struct api_path path = api_path("/api/v1/enrolment-tokens", NULL, "");
    return api_show(cli, "GET", &path, NULL, tokens_print);
}

static enum err enrol_token_create(struct cli *cli)
{
    struct api_path path = api_path("/api/v1/enrolment-tokens", NULL, "");
    json_t *body = json_pack("{s:s}", "site", option_text(cli, "site"));
    if (body == NULL)
        return usage_error(cli, "the site must be UTF-8");
    body_int(cli, body, "uses", "uses");
    body_int(cli, body, "expires_in_s", "expires-in");
    return api_show(cli, "POST", &path, body, secret_print);
}

static enum err enrol_token_revoke(struct cli *cli)
{
    struct api_path path = api_path("/api/v1/enrolment-tokens/", cli->words[0], "");
    return api_show(cli, "DELETE", &path, NULL, secret_revoked_print);
}

static const struct option create_options[] = {
    {"site", OPTION_TEXT, "SITE", "site of the new devices; made when it is new", true, 0, 0},
    {"uses", OPTION_INT, "N", "how many devices it lets in (default: 1)", false, 1, 100000},
    {"expires-in", OPTION_INT, "SECONDS", "lifetime (default: one day)", false, 60, 31536000},
    {.name = NULL},
};

const struct command commands_enrol_token[] = {
    {"enrol-token create", "", 0, 0, create_options, "Make an enrolment token; its secret is shown once",
     "The secret alone goes to stdout. Give it to muster-agent as `token` or `token_file`.",
     "musterctl enrol-token create --site berlin --uses 10 > berlin.token", enrol_token_create},
    {"enrol-token list", "", 0, 0, NULL, "List enrolment tokens", "", "musterctl enrol-token list", enrol_token_list},
    {"enrol-token revoke", "ID", 1, 1, NULL, "Revoke an enrolment token", "", "musterctl enrol-token revoke 3",
     enrol_token_revoke},
    {.name = NULL},
};
