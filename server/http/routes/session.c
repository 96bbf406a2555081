/* Logging in and out. */

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "server/http/credential.h"
#include "server/http/limiter.h"
#include "server/http/password.h"
#include "server/http/routes/routes.h"
#include "server/http/secret.h"
#include "server/server.h"
#include "server/store/account.h"
#include "server/store/audit.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What was sent. */
struct login {
    const char *user;
    const char *password;
    const char *new_password; /* NULL: none */
};

static enum err login_read(struct call *c, struct login *out)
{
    static const char *const allowed[] = {"user", "password", "new_password", NULL};
    enum err e = json_only(c->body, allowed, &c->info);
    if (e == ERR_OK)
        e = json_get_text(c->body, "user", ACCOUNT_NAME_SIZE - 1, &out->user, &c->info);
    if (e == ERR_OK)
        e = json_get_text(c->body, "password", PASSWORD_MAX, &out->password, &c->info);
    if (e == ERR_OK && json_has(c->body, "new_password"))
        e = json_get_text(c->body, "new_password", PASSWORD_MAX, &out->new_password, &c->info);
    if (e == ERR_OK && out->new_password != NULL && strlen(out->new_password) < PASSWORD_MIN)
        e = err_field(&c->info, ERR_INVALID, "new_password", "a new password has at least %d characters", PASSWORD_MIN);
    if (e == ERR_OK && out->new_password != NULL && text_eq(out->new_password, out->password))
        e = err_field(&c->info, ERR_INVALID, "new_password", "the new password must differ from the old one");
    return e;
}

/* By address, so that nobody tries many accounts; by account, so that many cannot try one. */
static enum err login_limit(struct call *c, const char *user)
{
    char key[sizeof "account " + ACCOUNT_NAME_SIZE];
    int64_t now = clock_mono_ms();
    (void)snprintf(key, sizeof key, "account %s", user);
    enum err e = limiter_take(c->server->login_limiter, c->address, now, &c->info);
    return e == ERR_OK ? limiter_take(c->server->login_limiter, key, now, &c->info) : e;
}

/* A wrong name, a wrong password and a closed account look alike, and take as long. */
static enum err login_check(struct call *c, const struct login *login, struct account *ret_account)
{
    bool right = false;
    struct account account = {};
    enum err e = account_find(c->db, login->user, &account, &c->info);
    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return e;
    bool exists = e == ERR_OK && !account.disabled;
    e = passwords_verify(c->server->passwords, exists ? account.password_hash : NULL, login->password, &right,
                         &c->info);
    if (e != ERR_OK)
        return e;
    if (!right) {
        log_warn("login_refused", "address=%s known=%s", c->address, exists ? "yes" : "no");
        return err_code(&c->info, ERR_UNAUTHENTICATED, "login_refused", "the name or the password is wrong");
    }
    if (account.must_change && login->new_password == NULL) {
        e = err_code(&c->info, ERR_FORBIDDEN, "password_change_required",
                     "this is a one-time password: it is good only together with a new one");
        err_next(&c->info, "Send a new password of at least %d characters as new_password.", PASSWORD_MIN);
        return e;
    }
    *ret_account = account;
    return ERR_OK;
}

/* What a good login changes, for the transaction. */
struct entry {
    const struct call *call;
    const struct account *account;
    struct session_limits limits;
    struct secret session;
    char actor[ACTOR_MAX];
    char new_hash[PASSWORD_HASH_SIZE]; /* "": the password stays */
};

static enum err entry_audit(struct db *db, const struct entry *entry, const char *action, struct err_info *info)
{
    char target[sizeof "account:" + ACCOUNT_NAME_SIZE];
    (void)snprintf(target, sizeof target, "account:%s", entry->account->name);
    const struct audit_entry row = {.actor = entry->actor,
                                    .action = action,
                                    .target = target,
                                    .address = entry->call->address,
                                    .request_id = entry->call->request_id};
    return audit_add(db, &row, info);
}

static enum err password_change(struct db *db, const struct entry *entry, struct err_info *info)
{
    enum err e = account_set_password(db, entry->account->name, entry->new_hash, false, info);
    if (e == ERR_OK)
        e = session_remove_account(db, entry->account->id, info);
    return e == ERR_OK ? entry_audit(db, entry, "account.change_password", info) : e;
}

static enum err entry_work(struct db *db, void *arg, struct err_info *info)
{
    const struct entry *entry = arg;
    enum err e = entry->new_hash[0] == '\0' ? ERR_OK : password_change(db, entry, info);
    if (e == ERR_OK)
        e = session_add(db, entry->session.hash, entry->account->id, entry->call->address, entry->limits, info);
    return e == ERR_OK ? entry_audit(db, entry, "session.create", info) : e;
}

static enum err cookie_answer(struct call *c, const char *value, int64_t max_age_s)
{
    char cookie[192];
    (void)snprintf(cookie, sizeof cookie,
                   SESSION_COOKIE "=%s; Path=/; Max-Age=%" PRId64 "; Secure; HttpOnly; SameSite=Strict", value,
                   max_age_s);
    enum err e = call_answer_header(c, "Set-Cookie", cookie);
    explicit_bzero(cookie, sizeof cookie);
    return e;
}

static enum err entry_run(struct call *c, struct entry *entry, const struct login *login)
{
    enum err e = secret_new(SECRET_SESSION, SECRET_BYTES_MAX, &entry->session);
    if (e == ERR_OK && login->new_password != NULL)
        e = passwords_hash(c->server->passwords, login->new_password, entry->new_hash, &c->info);
    if (e == ERR_OK)
        e = db_transaction(c->db, entry_work, entry, &c->info);
    if (e == ERR_OK)
        e = cookie_answer(c, entry->session.text, entry->limits.max_s);
    explicit_bzero(&entry->session, sizeof entry->session);
    return e;
}

static enum err handle_create(struct call *c)
{
    struct login login = {};
    struct account account = {};
    enum err e = login_read(c, &login);
    if (e == ERR_OK)
        e = login_limit(c, login.user);
    if (e == ERR_OK)
        e = login_check(c, &login, &account);
    if (e != ERR_OK)
        return e;
    struct entry entry = {.call = c,
                          .account = &account,
                          .limits = {.idle_s = conf_int(c->server->conf, "session_idle_s"),
                                     .max_s = conf_int(c->server->conf, "session_max_s")}};
    (void)snprintf(entry.actor, sizeof entry.actor, "user:%s", account.name);
    e = entry_run(c, &entry, &login);
    return e == ERR_OK ? me_answer(c, entry.actor, (struct grant){.role = account.role}) : e;
}

/* ---- logging out */

static enum err leave_work(struct db *db, void *arg, struct err_info *info)
{
    const struct call *c = arg;
    uint8_t hash[SHA256_SIZE];
    char target[ACTOR_MAX + sizeof "account:"];
    enum err e = secret_hash(SECRET_SESSION, call_cookie(c, SESSION_COOKIE), hash);
    if (e == ERR_OK)
        e = session_remove(db, hash, info);
    (void)snprintf(target, sizeof target, "account:%s", c->actor + strlen("user:"));
    return e == ERR_OK ? call_audit(c, db, "session.delete", target, NULL, NULL, info) : e;
}

static enum err handle_delete(struct call *c)
{
    if (c->grant.is_token)
        return err_code(&c->info, ERR_INVALID, "no_session", "a token has no session to end; revoke it instead");
    enum err e = db_transaction(c->db, leave_work, c, &c->info);
    if (e == ERR_OK)
        e = cookie_answer(c, "", 0);
    return e == ERR_OK ? call_answer_empty(c, 204) : e;
}

static const struct route routes[] = {
    {"POST", "/api/v1/session", PERMIT_ANYONE, BODY_JSON, handle_create},
    {"DELETE", "/api/v1/session", PERMIT_READ, BODY_NONE, handle_delete},
};
const struct route_table routes_session = {routes, sizeof routes / sizeof routes[0]};
