/* Logging in: a password becomes an API token in a file. */
#include "cli/api.h"
#include "cli/commands.h"
#include "cli/table.h"
#include "cli/terminal.h"

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/text.h"

#include <libgen.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { USER_MAX = 64, PASSWORD_SIZE = 1001, PATH_LEN = 4096, NAME_SIZE = 64 };

/* Wiped at the end of login. */
struct credentials {
    char user[USER_MAX];
    char password[PASSWORD_SIZE];
    char new_password[PASSWORD_SIZE]; /* "": none */
    bool from_stdin;
};

static enum err credentials_ask(struct cli *cli, struct credentials *c)
{
    const char *user = option_text(cli, "user");
    c->from_stdin = option_given(cli, "password-stdin");
    enum err e = ERR_OK;
    if (user == NULL && c->from_stdin)
        user = "admin";
    if (user == NULL)
        e = terminal_ask("user name:", c->user, sizeof c->user, &cli->info);
    else if (!text_copy(c->user, sizeof c->user, user))
        return usage_error(cli, "the user name is too long");
    if (e == ERR_OK && c->from_stdin)
        e = stdin_line(c->password, sizeof c->password, &cli->info);
    else if (e == ERR_OK)
        e = terminal_password("password:", false, c->password, sizeof c->password, &cli->info);
    return e;
}

static enum err new_password_ask(struct cli *cli, struct credentials *c)
{
    if (!c->from_stdin) {
        fputs("This was a one-time password. Choose your own (12 characters or more).\n", stderr);
        return terminal_password("new password:", true, c->new_password, sizeof c->new_password, &cli->info);
    }
    enum err e = stdin_line(c->new_password, sizeof c->new_password, &cli->info);
    if (e == ERR_OK && c->new_password[0] == '\0')
        e = err_set(&cli->info, ERR_UNAUTHENTICATED, "this is a one-time password, and stdin has no new one");
    if (e != ERR_OK)
        err_next(&cli->info, "Give the new password as the second line of stdin.");
    return e;
}

/* One request that carries a cookie instead of the token. */
static enum err session_call(struct cli *cli, const char *method, const char *path, json_t *body, json_t **ret_json)
{
    json_auto_t *owned = body;
    cleanup_free char *text = NULL;
    cleanup_answer struct answer answer = {0};
    struct https *https = NULL;
    enum err e = owned == NULL ? ERR_OK : json_print(owned, &text, NULL);
    if (e == ERR_OK)
        e = api_connect(cli, false, &https);
    struct request request = {.method = method, .path = path, .json = text};
    if (e == ERR_OK)
        e = https_send(https, &request, &answer, &cli->info);
    if (e == ERR_OK)
        e = api_judge(cli, &answer, ret_json);
    if (text != NULL)
        OPENSSL_cleanse(text, strlen(text));
    return e;
}

static enum err session_open(struct cli *cli, const struct credentials *c, json_t **ret_me)
{
    json_t *body = json_pack("{s:s, s:s}", "user", c->user, "password", c->password);
    if (body == NULL)
        return err_set(&cli->info, ERR_INVALID, "user name and password must be UTF-8");
    body_text(body, "new_password", c->new_password[0] == '\0' ? NULL : c->new_password);
    return session_call(cli, "POST", "/api/v1/session", body, ret_me);
}

static bool needs_new_password(const struct cli *cli)
{
    return text_eq(json_text_or_null(cli->problem, "code"), "password_change_required");
}

/* Opens a session; a one-time password is changed on the way. */
static enum err session_start(struct cli *cli, struct credentials *c, json_t **ret_me)
{
    enum err e = session_open(cli, c, ret_me);
    if (e == ERR_OK || !needs_new_password(cli))
        return e;
    json_decref(cli->problem);
    cli->problem = NULL;
    e = new_password_ask(cli, c);
    return e == ERR_OK ? session_open(cli, c, ret_me) : e;
}

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
    return e == ERR_OK ? e : err_set(&cli->info, e, "%.200s: cannot keep the token: %s", path, err_name(e));
}

/* Makes a token of the session's own role and keeps it. */
static enum err token_make(struct cli *cli, const json_t *me, const char *path)
{
    char host[NAME_SIZE] = "";
    char name[NAME_SIZE];
    json_auto_t *made = NULL;
    (void)gethostname(host, sizeof host - 1);
    (void)snprintf(name, sizeof name, "musterctl@%.50s", host);
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

static enum err login_with(struct cli *cli, struct credentials *c)
{
    char path[PATH_LEN];
    json_auto_t *me = NULL;
    token_path(cli, path, sizeof path);
    if (path[0] == '\0')
        return err_set(&cli->info, ERR_NOT_FOUND, "there is no home directory for the token; give --token-file FILE");
    enum err e = credentials_ask(cli, c);
    if (e == ERR_OK)
        e = session_start(cli, c, &me);
    if (e == ERR_OK)
        e = token_make(cli, me, path);
    if (e == ERR_OK)
        e = session_call(cli, "DELETE", "/api/v1/session", NULL, NULL);
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

static enum err login(struct cli *cli)
{
    struct credentials c = {0};
    enum err e = login_with(cli, &c);
    OPENSSL_cleanse(&c, sizeof c);
    return e;
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
    {"user", OPTION_TEXT, "NAME", "account (default: asks; admin with --password-stdin)", false, 0, 0},
    {"password-stdin", OPTION_FLAG, NULL, "read the password from stdin; a second line is the new password", false, 0,
     0},
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
