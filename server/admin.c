#include "server/admin.h"

#include "common/base/text.h"
#include "server/store/account.h"
#include "server/store/api_token.h"
#include "server/store/audit.h"
#include "server/store/session.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

static const char ADMIN[] = "admin";

static enum err admin_audit(struct db *db, const char *action, const char *target, const json_t *after,
                            struct err_info *info)
{
    const struct audit_entry entry = {
        .actor = "system", .action = action, .target = target, .address = "", .request_id = "", .after = after};
    return audit_add(db, &entry, info);
}

/* ---- accounts */

struct reset {
    const char *name;
    const char *hash;
    bool only_first; /* do nothing when there is any account */
    bool done;
};

static enum err account_make(struct db *db, struct reset *reset, struct err_info *info)
{
    enum err e = account_add(db, ADMIN, reset->hash, true, ROLE_ADMIN, &reset->done, info);
    if (e != ERR_OK || !reset->done)
        return e;
    return admin_audit(db, "account.create", "account:admin", NULL, info);
}

static enum err password_replace(struct db *db, struct reset *reset, struct err_info *info)
{
    struct account account;
    char target[sizeof "account:" + ACCOUNT_NAME_SIZE];
    enum err e = account_find(db, reset->name, &account, info);
    if (e == ERR_NOT_FOUND && text_eq(reset->name, ADMIN))
        return account_make(db, reset, info);
    if (e == ERR_OK)
        e = account_set_password(db, reset->name, reset->hash, true, info);
    if (e == ERR_OK)
        e = session_remove_account(db, account.id, info);
    if (e != ERR_OK)
        return e;
    reset->done = true;
    (void)snprintf(target, sizeof target, "account:%s", account.name);
    return admin_audit(db, "account.reset_password", target, NULL, info);
}

static enum err reset_work(struct db *db, void *arg, struct err_info *info)
{
    struct reset *reset = arg;
    bool any = false;
    if (!reset->only_first)
        return password_replace(db, reset, info);
    enum err e = account_any(db, &any, info);
    return e == ERR_OK && !any ? account_make(db, reset, info) : e;
}

static enum err reset_run(struct db *db, struct reset *reset, char ret_password[PASSWORD_ONE_TIME_SIZE],
                          struct err_info *info)
{
    char password[PASSWORD_ONE_TIME_SIZE];
    char hash[PASSWORD_HASH_SIZE];
    struct passwords *passwords = NULL;
    enum err e = passwords_new(&passwords);
    if (e == ERR_OK)
        e = password_one_time(password);
    if (e == ERR_OK)
        e = passwords_hash(passwords, password, hash, info);
    passwords_free(passwords);
    if (e != ERR_OK)
        return e;
    reset->hash = hash;
    e = db_transaction(db, reset_work, reset, info);
    if (e == ERR_OK)
        memcpy(ret_password, reset->done ? password : "", reset->done ? sizeof password : 1);
    explicit_bzero(password, sizeof password);
    return e;
}

enum err admin_reset_password(struct db *db, const char *name, char ret_password[PASSWORD_ONE_TIME_SIZE],
                              struct err_info *info)
{
    struct reset reset = {.name = name};
    return reset_run(db, &reset, ret_password, info);
}

enum err admin_first_account(struct db *db, char ret_password[PASSWORD_ONE_TIME_SIZE], struct err_info *info)
{
    struct reset reset = {.name = ADMIN, .only_first = true};
    return reset_run(db, &reset, ret_password, info);
}

/* ---- tokens */

static enum err token_work(struct db *db, void *arg, struct err_info *info)
{
    const struct api_token *token = arg;
    int64_t id = 0;
    int64_t expires_ms = 0;
    char target[40];
    enum err e = api_token_add(db, token, &id, &expires_ms, info);
    if (e != ERR_OK)
        return e;
    (void)snprintf(target, sizeof target, "token:%" PRId64, id);
    json_auto_t *after = json_pack("{s:s, s:s}", "name", token->name, "role", access_role_name(token->role));
    return after == NULL ? ERR_NO_MEMORY : admin_audit(db, "token.create", target, after, info);
}

enum err admin_create_token(struct db *db, const char *name, const char *role, char ret_token[SECRET_TEXT_MAX],
                            struct err_info *info)
{
    struct secret secret;
    struct api_token token = {.name = name, .created_by = "system"};
    enum err e = api_token_check_name(name, info);
    if (e == ERR_OK)
        e = access_role_parse(role, &token.role, info);
    if (e == ERR_OK)
        e = secret_new(SECRET_API_TOKEN, SECRET_BYTES_MAX, &secret);
    if (e != ERR_OK)
        return e;
    memcpy(token.hash, secret.hash, sizeof token.hash);
    e = db_transaction(db, token_work, &token, info);
    if (e == ERR_OK)
        memcpy(ret_token, secret.text, sizeof secret.text);
    explicit_bzero(&secret, sizeof secret);
    return e;
}
