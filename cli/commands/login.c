/* Logging in: a password becomes an API token in a file. */
#include "cli/api.h"
#include "cli/commands.h"
#include "cli/session.h"
#include "cli/table.h"

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/text.h"

#include <ctype.h>
#include <libgen.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATH_LEN = 4096, NAME_SIZE = 64 };

static enum err token_keep(struct cli *cli, const char *secret, const char *path)
{
    char copy[PATH_LEN];
    char text[600];
    (void)text_copy(copy, sizeof copy, path);
    int n = snprintf(text, sizeof text, "%s\n", secret);
    if (n < 0 || (size_t)n >= sizeof text)
        return err_set(&cli->info, ERR_CORRUPT, "the server's token is too long");
    enum err e = file_make_dirs(dirname(copy), 0700);
    if (e == ERR_OK)
        e = file_write(path, text, (size_t)n, 0600);
    OPENSSL_cleanse(text, sizeof text);
    return e == ERR_OK ? e : err_set(&cli->info, e, "%.200s: cannot keep the token: %s", path, err_words(e));
}

/* "musterctl-HOST", of the characters that a token's name may have. */
static void token_name(char name[NAME_SIZE])
{
    char host[NAME_SIZE] = "";
    (void)gethostname(host, sizeof host - 1);
    (void)snprintf(name, NAME_SIZE, "musterctl-%.50s", host);
    for (char *c = name; *c != '\0'; c++)
        if (!isalnum((unsigned char)*c) && strchr("._-", *c) == NULL)
            *c = '-';
}

/* Makes a token of the session's own role and keeps it. */
static enum err token_make(struct cli *cli, const json_t *me, const char *path)
{
    char name[NAME_SIZE];
    json_auto_t *made = NULL;
    token_name(name);
    const char *role = json_text_or_null(me, "role");
    json_t *body = json_pack("{s:s, s:s}", "name", name, "role", role == NULL ? "" : role);
    if (body == NULL)
        return ERR_NO_MEMORY;
    body_int(cli, body, "expires_in_s", "expires-in");
    enum err e = session_call(cli, "POST", "/api/v1/tokens", body, &made);
    const char *secret = e == ERR_OK ? json_text_or_null(made, "secret") : NULL;
    if (e == ERR_OK && secret == NULL)
        e = err_set(&cli->info, ERR_CORRUPT, "the server's answer has no token");
    return e == ERR_OK ? token_keep(cli, secret, path) : e;
}

static enum err login(struct cli *cli)
{
    char path[PATH_LEN];
    json_auto_t *me = NULL;
    token_path(cli, path, sizeof path);
    if (path[0] == '\0')
        return err_set(&cli->info, ERR_NOT_FOUND, "there is no home directory for the token; give --token-file FILE");
    enum err e = session_start(cli, &me);
    if (e != ERR_OK)
        return e;
    e = session_end(cli, token_make(cli, me, path));
    if (e != ERR_OK)
        return e;
    const char *actor = json_text_or_null(me, "actor");
    const char *role = json_text_or_null(me, "role");
    if (wants_json(cli))
        return json_show(json_pack("{s:O, s:s}", "me", me, "token_file", path));
    printf("logged in as %s (%s); the API token is in %s\n", actor == NULL ? "?" : actor, role == NULL ? "?" : role,
           path);
    return ERR_OK;
}

static void me_print(const json_t *json)
{
    static const struct column columns[] = {
        {"Actor", "actor", cell_text}, {"Role", "role", cell_text}, {"May", "permissions", cell_text}};
    fields_print(json, COLUMNS(columns));
}

static enum err whoami(struct cli *cli)
{
    struct api_path path = api_path("/api/v1/me", NULL, "");
    return api_show(cli, "GET", &path, NULL, me_print);
}

static const struct option login_options[] = {
    SESSION_OPTIONS,
    {"expires-in", OPTION_INT, "SECONDS", "lifetime of the token (default: 90 days)", false, 60, 31536000},
    {.name = NULL},
};

const struct command commands_login[] = {
    {"login", "", 0, 0, login_options, "Log in, and keep an API token for later commands",
     "The token has the account's role. A one-time password is changed on the way.",
     "musterctl login\nmusterctl login --user admin --password-stdin < password.txt", login},
    {"whoami", "", 0, 0, NULL, "Who the token speaks for, and what it may do", "", "musterctl whoami", whoami},
    {.name = NULL},
};
