#include "common/base/cleanup.h"
#include "server/http/routes/routes.h"
#include "server/http/secret.h"
#include "server/store/enrolment.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    TOKEN_BYTES = 20,
    SITE_MAX = 63,
    USES_MAX = 100000,
    EXPIRES_MIN_S = 60,
    EXPIRES_MAX_S = 365 * 86400,
    DAY_S = 86400
};

static bool site_ok(const char *site)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
    return site[0] != '\0' && site[0] != '-' && site[strspn(site, allowed)] == '\0';
}

static enum err optional_i64(const json_t *body, const char *key, int64_t min, int64_t max, int64_t fallback,
                             int64_t *ret_value, struct err_info *info)
{
    if (json_has(body, key))
        return json_get_i64(body, key, min, max, ret_value, info);
    *ret_value = fallback;
    return ERR_OK;
}

static enum err token_read(struct call *c, struct enrolment_token *out)
{
    static const char *const allowed[] = {"site", "uses", "expires_in_s", NULL};
    enum err e = json_only(c->body, allowed, &c->info);
    if (e == ERR_OK)
        e = json_get_text(c->body, "site", SITE_MAX, &out->site, &c->info);
    if (e == ERR_OK && !site_ok(out->site))
        e = err_field(&c->info, ERR_INVALID, "site",
                      "a site's name has lower-case letters, digits and hyphens, and starts with a letter or digit");
    if (e == ERR_OK)
        e = optional_i64(c->body, "uses", 1, USES_MAX, 1, &out->uses, &c->info);
    if (e == ERR_OK)
        e = optional_i64(c->body, "expires_in_s", EXPIRES_MIN_S, EXPIRES_MAX_S, DAY_S, &out->expires_in_s, &c->info);
    return e;
}

struct change {
    struct call *call;
    const struct enrolment_token *token; /* to create */
    int64_t id;
    int64_t expires_ms;
};

static enum err change_audit(const struct change *change, struct db *db, const char *action, const json_t *before,
                             const json_t *after, struct err_info *info)
{
    char target[48];
    (void)snprintf(target, sizeof target, "enrolment_token:%" PRId64, change->id);
    return call_audit(change->call, db, action, target, before, after, info);
}

/* The token as the API shows it, for the audit row. */
static enum err token_json(struct db *db, int64_t id, json_t **ret_json, struct err_info *info)
{
    cleanup_free char *text = NULL;
    enum err e = enrolment_token_get(db, id, &text, info);
    return e == ERR_OK ? json_parse(text, strlen(text), JSON_BYTES_MAX, ret_json, info) : e;
}

static enum err create_work(struct db *db, void *arg, struct err_info *info)
{
    struct change *change = arg;
    json_auto_t *after = NULL;
    enum err e = enrolment_token_add(db, change->token, &change->id, &change->expires_ms, info);
    if (e == ERR_OK)
        e = token_json(db, change->id, &after, info);
    if (e == ERR_OK)
        e = change_audit(change, db, "enrolment_token.create", NULL, after, info);
    return e;
}

static enum err handle_create(struct call *c)
{
    struct enrolment_token token = {.created_by = c->actor};
    enum err e = token_read(c, &token);
    if (e != ERR_OK)
        return e;
    struct secret secret;
    e = secret_new(SECRET_ENROLMENT, TOKEN_BYTES, &secret);
    if (e != ERR_OK)
        return e;
    memcpy(token.hash, secret.hash, sizeof token.hash);
    struct change change = {.call = c, .token = &token};
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
    struct change *change = arg;
    json_auto_t *before = NULL;
    json_auto_t *after = NULL;
    enum err e = token_json(db, change->id, &before, info);
    if (e == ERR_OK)
        e = enrolment_token_revoke(db, change->id, info);
    if (e == ERR_OK)
        e = token_json(db, change->id, &after, info);
    if (e == ERR_OK)
        e = change_audit(change, db, "enrolment_token.revoke", before, after, info);
    return e;
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
    enum err e = enrolment_token_list(c->db, &json, &c->info);
    return e == ERR_OK ? call_answer_text(c, 200, json) : e;
}

static const struct route routes[] = {
    {"GET", "/api/v1/enrolment-tokens", PERMIT_ACCESS_ADMIN, BODY_NONE, handle_list},
    {"POST", "/api/v1/enrolment-tokens", PERMIT_ACCESS_ADMIN, BODY_JSON, handle_create},
    {"DELETE", "/api/v1/enrolment-tokens/{id}", PERMIT_ACCESS_ADMIN, BODY_NONE, handle_revoke},
};
const struct route_table routes_enrolment_tokens = {routes, sizeof routes / sizeof routes[0]};
