/* API tokens, for automation. */
#include "cli/api.h"
#include "cli/commands.h"
#include "cli/secret.h"
#include "cli/session.h"
#include "cli/table.h"

static void tokens_print(const json_t *json)
{
    static const struct column columns[] = {
        {"ID", "id", cell_text},
        {"NAME", "name", cell_text},
        {"ROLE", "role", cell_text},
        {"BY", "created_by", cell_text},
        {"CREATED", "created_at", cell_time},
        {"USED", "used_at", cell_ago},
        {"UNTIL", "expires_at", cell_time},
        {"REVOKED", "revoked_at", cell_time},
    };
    table_print(json_object_get(json, "tokens"), COLUMNS(columns), "no tokens");
}

static enum err token_list(struct cli *cli)
{
    struct api_path path = api_path("/api/v1/tokens", NULL, "");
    return api_show(cli, "GET", &path, NULL, tokens_print);
}

/* One change, made in person: a token makes and revokes no tokens. */
static enum err session_show(struct cli *cli, const char *method, const struct api_path *path, json_t *body,
                             void (*print)(const json_t *json))
{
    json_auto_t *owned = body;
    json_auto_t *me = NULL;
    json_auto_t *json = NULL;
    if (path->bad)
        return usage_error(cli, "the id is empty or too long");
    enum err e = session_start(cli, &me);
    if (e != ERR_OK)
        return e;
    e = session_end(cli, session_call(cli, method, path->text, json_incref(owned), &json));
    if (e == ERR_OK && !wants_json(cli))
        print(json);
    else if (e == ERR_OK && json != NULL)
        e = json_show(json_incref(json));
    return e;
}

static enum err token_create(struct cli *cli)
{
    struct api_path path = api_path("/api/v1/tokens", NULL, "");
    json_t *body = json_pack("{s:s, s:s}", "name", cli->words[0], "role", option_text(cli, "role"));
    if (body == NULL)
        return usage_error(cli, "name and role must be UTF-8");
    body_int(cli, body, "expires_in_s", "expires-in");
    return session_show(cli, "POST", &path, body, secret_print);
}

static enum err token_revoke(struct cli *cli)
{
    struct api_path path = api_path("/api/v1/tokens/", cli->words[0], "");
    return session_show(cli, "DELETE", &path, NULL, secret_revoked_print);
}

static const struct option create_options[] = {
    {"role", OPTION_TEXT, "ROLE", "viewer, operator, releaser or admin", true, 0, 0},
    {"expires-in", OPTION_INT, "SECONDS", "lifetime (default: 90 days)", false, 60, 31536000},
    SESSION_OPTIONS,
    {.name = NULL},
};

static const struct option revoke_options[] = {SESSION_OPTIONS, {.name = NULL}};

const struct command commands_token[] = {
    {"token create", "NAME", 1, 1, create_options, "Make an API token; its secret is shown once",
     "Asks for a password, because a token can make no tokens. The secret alone goes to stdout.",
     "musterctl token create ci --role releaser > ci.token", token_create},
    {"token list", "", 0, 0, NULL, "List API tokens", "", "musterctl token list", token_list},
    {"token revoke", "ID", 1, 1, revoke_options, "Revoke an API token",
     "Asks for a password, because a token can revoke no tokens.", "musterctl token revoke 4", token_revoke},
    {.name = NULL},
};
