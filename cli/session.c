#include "cli/session.h"

#include "cli/api.h"
#include "cli/terminal.h"

#include "common/base/cleanup.h"
#include "common/base/text.h"

#include <openssl/crypto.h>
#include <string.h>

enum { USER_MAX = 64, PASSWORD_SIZE = 1001 };

/* Wiped as soon as they were used. */
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

enum err session_call(struct cli *cli, const char *method, const char *path, json_t *body, json_t **ret_json)
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
static enum err session_login(struct cli *cli, struct credentials *c, json_t **ret_me)
{
    enum err e = credentials_ask(cli, c);
    if (e != ERR_OK)
        return e;
    e = session_open(cli, c, ret_me);
    if (e == ERR_OK || !needs_new_password(cli))
        return e;
    json_decref(cli->problem);
    cli->problem = NULL;
    e = new_password_ask(cli, c);
    return e == ERR_OK ? session_open(cli, c, ret_me) : e;
}

enum err session_start(struct cli *cli, json_t **ret_me)
{
    struct credentials c = {0};
    enum err e = session_login(cli, &c, ret_me);
    OPENSSL_cleanse(&c, sizeof c);
    return e;
}

enum err session_end(struct cli *cli, enum err e)
{
    struct cli quiet = {.conf = cli->conf, .https = cli->https};
    if (e == ERR_OK)
        return session_call(cli, "DELETE", "/api/v1/session", NULL, NULL);
    (void)!session_call(&quiet, "DELETE", "/api/v1/session", NULL, NULL);
    json_decref(quiet.problem);
    return e;
}
