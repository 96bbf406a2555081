#include "cli/api.h"

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/text.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKEN_MAX = 512, PROBLEM_MAX = 64 * 1024, ANSWER_JSON_MAX = 64 * 1024 * 1024 };

/* ---- paths ---- */

static void path_add(struct api_path *p, const char *text)
{
    size_t len = strlen(text);
    p->bad = p->bad || p->len + len >= sizeof p->text;
    if (p->bad)
        return;
    memcpy(p->text + p->len, text, len + 1);
    p->len += len;
}

static void path_add_escaped(struct api_path *p, const char *text)
{
    char *escaped = curl_easy_escape(NULL, text, 0);
    p->bad = p->bad || escaped == NULL;
    if (escaped != NULL)
        path_add(p, escaped);
    curl_free(escaped);
}

struct api_path api_path(const char *before, const char *segment, const char *after)
{
    struct api_path p = {0};
    path_add(&p, before);
    if (segment != NULL)
        path_add_escaped(&p, segment);
    p.bad = p.bad || (segment != NULL && *segment == '\0');
    path_add(&p, after);
    return p;
}

void api_query(struct api_path *path, const char *name, const char *value)
{
    if (value == NULL)
        return;
    path_add(path, path->query ? "&" : "?");
    path->query = true;
    path_add(path, name);
    path_add(path, "=");
    path_add_escaped(path, value);
}

void api_page(const struct cli *cli, struct api_path *path)
{
    api_query(path, "limit", option_text(cli, "limit"));
    api_query(path, "before", option_text(cli, "before"));
}

/* ---- the token ---- */

void token_path(const struct cli *cli, char *out, size_t size)
{
    const char *set = conf_text(cli->conf, "token_file");
    const char *config = getenv("XDG_CONFIG_HOME");
    const char *home = getenv("HOME");
    int n = 0;
    if (*set != '\0')
        n = snprintf(out, size, "%s", set);
    else if (config != NULL && *config == '/')
        n = snprintf(out, size, "%s/muster/token", config);
    else if (home != NULL && *home == '/')
        n = snprintf(out, size, "%s/.config/muster/token", home);
    else
        out[0] = '\0';
    if (n < 0 || (size_t)n >= size)
        out[0] = '\0';
}

static enum err token_use(struct cli *cli, struct https *https)
{
    char path[4096];
    cleanup_free char *text = NULL;
    const char *set = conf_text(cli->conf, "token");
    if (*set != '\0')
        return https_token_set(https, set, &cli->info);
    token_path(cli, path, sizeof path);
    enum err e = file_read(path, TOKEN_MAX, &text, NULL);
    if (e != ERR_OK) {
        e = e == ERR_NOT_FOUND
                ? err_set(&cli->info, ERR_UNAUTHENTICATED, "you are not logged in: there is no API token")
                : err_set(&cli->info, e, "%s: cannot read the API token: %s", path, err_words(e));
        err_next(&cli->info, "Run `musterctl login`, or give a token by MUSTERCTL_TOKEN or --token-file.");
        return e;
    }
    text[strcspn(text, " \r\n")] = '\0';
    return https_token_set(https, text, &cli->info);
}

enum err api_connect(struct cli *cli, bool with_token, struct https **ret_https)
{
    enum err e = ERR_OK;
    if (cli->https == NULL)
        e = https_new(conf_text(cli->conf, "server"), conf_text(cli->conf, "ca"), &cli->https, &cli->info);
    cli->https_free = https_free;
    if (e == ERR_OK && with_token)
        e = token_use(cli, cli->https);
    if (e == ERR_OK)
        *ret_https = cli->https;
    return e;
}

/* ---- answers ---- */

static enum err status_to_err(long status)
{
    switch (status) {
    case 401:
        return ERR_UNAUTHENTICATED;
    case 403:
        return ERR_FORBIDDEN;
    case 404:
        return ERR_NOT_FOUND;
    case 409:
        return ERR_CONFLICT;
    case 413:
        return ERR_TOO_LARGE;
    case 429:
        return ERR_RATE;
    default:
        return status >= 500 ? ERR_UNAVAILABLE : ERR_INVALID;
    }
}

static enum err refused(struct cli *cli, const struct answer *answer)
{
    json_t *problem = NULL;
    enum err e = status_to_err(answer->status);
    if (json_parse(answer->text, answer->len, PROBLEM_MAX, &problem, NULL) == ERR_OK &&
        json_text_or_null(problem, "code") != NULL) {
        json_decref(cli->problem);
        cli->problem = problem;
        return e;
    }
    json_decref(problem);
    e = err_set(&cli->info, e, "%s answers with HTTP status %ld", conf_text(cli->conf, "server"), answer->status);
    err_next(&cli->info, "Is this the address of musterd? It should explain its refusals.");
    return e;
}

enum err api_judge(struct cli *cli, const struct answer *answer, json_t **ret_json)
{
    json_t *json = NULL;
    if (answer->status < 200 || answer->status > 299)
        return refused(cli, answer);
    if (answer->len > 0 && json_parse(answer->text, answer->len, ANSWER_JSON_MAX, &json, NULL) != ERR_OK)
        return err_set(&cli->info, ERR_CORRUPT, "%s answers with something that is not JSON",
                       conf_text(cli->conf, "server"));
    if (ret_json != NULL)
        *ret_json = json;
    else
        json_decref(json);
    return ERR_OK;
}

enum err api_call(struct cli *cli, const char *method, const struct api_path *path, json_t *body, json_t **ret_json,
                  struct answer *ret_answer)
{
    json_auto_t *owned = body;
    cleanup_free char *text = NULL;
    cleanup_answer struct answer answer = {0};
    struct https *https = NULL;
    if (path->bad)
        return usage_error(cli, "a name in the request is empty or too long");
    enum err e = owned == NULL ? ERR_OK : json_print(owned, &text, NULL);
    if (e == ERR_OK)
        e = api_connect(cli, true, &https);
    struct request request = {.method = method, .path = path->text, .json = text};
    if (e == ERR_OK)
        e = https_send(https, &request, &answer, &cli->info);
    if (e == ERR_OK)
        e = api_judge(cli, &answer, ret_json);
    if (e == ERR_OK && ret_answer != NULL) {
        *ret_answer = answer;
        answer = (struct answer){0};
    }
    return e;
}

enum err api_show(struct cli *cli, const char *method, const struct api_path *path, json_t *body,
                  void (*print)(const json_t *json))
{
    json_auto_t *json = NULL;
    cleanup_answer struct answer answer = {0};
    enum err e = api_call(cli, method, path, body, &json, &answer);
    if (e == ERR_OK && wants_json(cli) && answer.len > 0)
        puts(answer.text);
    else if (e == ERR_OK && !wants_json(cli))
        print(json);
    return e;
}

/* ---- bodies ---- */

void body_text(json_t *body, const char *key, const char *value)
{
    if (value != NULL)
        (void)!json_object_set_new(body, key, json_string(value));
}

void body_int(const struct cli *cli, json_t *body, const char *key, const char *option)
{
    if (option_given(cli, option))
        (void)!json_object_set_new(body, key, json_integer(option_int(cli, option, 0)));
}
