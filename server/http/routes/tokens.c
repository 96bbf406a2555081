/* Tokens for automation. Only a person makes and revokes them. */

#include "common/base/cleanup.h"
#include "server/http/routes/routes.h"
#include "server/http/secret.h"
#include "server/store/api_token.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { EXPIRES_MIN_S = 60, EXPIRES_MAX_S = 365 * 86400, EXPIRES_S = 90 * 86400 };

/* One change, for the transaction. */
struct change {
    const struct call *call;
    struct api_token token; /* to create */
    int64_t id;
    int64_t expires_ms;
};

/* The token as the API shows it, for the audit row. */
static enum err token_json(struct db *db, int64_t id, json_t **ret_json, struct err_info *info)
{
    cleanup_free char *text = NULL;
    enum err e = api_token_get(db, id, &text, info);
    return e == ERR_OK ? json_parse(text, strlen(text), JSON_BYTES_MAX, ret_json, info) : e;
}

static enum err change_audit(const struct change *change, struct db *db, const char *action, const json_t *before,
                             struct err_info *info)
{
    char target[40];
    json_auto_t *after = NULL;
    (void)snprintf(target, sizeof target, "token:%" PRId64, change->id);
    enum err e = token_json(db, change->id, &after, info);
    return e == ERR_OK ? call_audit(change->call, db, action, target, before, after, info) : e;
}

static enum err create_work(struct db *db, void *arg, struct err_info *info)
{
    struct change *change = arg;
    enum err e = api_token_add(db, &change->token, &change->id, &change->expires_ms, info);
    return e == ERR_OK ? change_audit(change, db, "token.create", NULL, info) : e;
}

static enum err token_read(struct call *c, struct api_token *out)
{
    static const char *const allowed[] = {"name", "role", "expires_in_s", NULL};
    const char *role = NULL;
    enum err e = json_only(c->body, allowed, &c->info);
    if (e == ERR_OK)
        e = json_get_text(c->body, "name", API_TOKEN_NAME_SIZE - 1, &out->name, &c->info);
    if (e == ERR_OK)
        e = api_token_check_name(out->name, &c->info);
    if (e == ERR_OK)
        e = json_get_text(c->body, "role", 16, &role, &c->info);
    if (e == ERR_OK)
        e = access_role_parse(role, &out->role, &c->info);
    out->expires_in_s = EXPIRES_S;
    if (e == ERR_OK && json_has(c->body, "expires_in_s"))
        e = json_get_i64(c->body, "expires_in_s", EXPIRES_MIN_S, EXPIRES_MAX_S, &out->expires_in_s, &c->info);
    return e;
}

static enum err handle_create(struct call *c)
{
    struct change change = {.call = c, .token = {.created_by = c->actor}};
    struct secret secret;
    enum err e = token_read(c, &change.token);
    if (e == ERR_OK)
        e = secret_new(SECRET_API_TOKEN, SECRET_BYTES_MAX, &secret);
    if (e != ERR_OK)
        return e;
    memcpy(change.token.hash, secret.hash, sizeof secret.hash);
    e = db_transaction(c->db, create_work, &change, &c->info);
    if (e == ERR_OK)
        e = call_answer_json(c, 201,
                             json_pack("{s:o, s:s, s:I}", "id", json_id(change.id), "secret", secret.text, "expires_at",
                                       (json_int_t)change.expires_ms));
    explicit_bzero(&secret, sizeof secret);
    return e;
}

static enum err revoke_work(struct db *db, void *arg, struct err_info *info)
{
    const struct change *change = arg;
    json_auto_t *before = NULL;
    enum err e = token_json(db, change->id, &before, info);
    if (e == ERR_OK)
        e = api_token_revoke(db, change->id, info);
    return e == ERR_OK ? change_audit(change, db, "token.revoke", before, info) : e;
}

static enum err handle_revoke(struct call *c)
{
    struct change change = {.call = c};
    enum err e = call_path_id(c, "id", &change.id);
    if (e == ERR_OK)
        e = db_transaction(c->db, revoke_work, &change, &c->info);
    return e == ERR_OK ? call_answer_empty(c, 204) : e;
}

static enum err handle_list(struct call *c)
{
    cleanup_free char *json = NULL;
    enum err e = api_token_list(c->db, &json, &c->info);
    return e == ERR_OK ? call_answer_text(c, 200, json) : e;
}

static const struct route routes[] = {
    {"GET", "/api/v1/tokens", PERMIT_ACCESS_ADMIN, BODY_NONE, handle_list},
    {"POST", "/api/v1/tokens", PERMIT_TOKEN_WRITE, BODY_JSON, handle_create},
    {"DELETE", "/api/v1/tokens/{id}", PERMIT_TOKEN_WRITE, BODY_NONE, handle_revoke},
};
const struct route_table routes_tokens = {routes, sizeof routes / sizeof routes[0]};
