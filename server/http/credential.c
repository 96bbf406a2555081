#include "server/http/credential.h"

#include "common/base/text.h"
#include "server/http/secret.h"
#include "server/store/api_token.h"
#include "server/store/session.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static enum err credential_invalid(struct err_info *info)
{
    enum err e = err_code(info, ERR_UNAUTHENTICATED, "credentials_invalid",
                          "the login or token is not known, has ended, or was revoked");
    err_next(info, "Log in again, or make a new token.");
    return e;
}

enum err credential_read(const char *authorization, const char *cookie, struct credential *ret_credential,
                         struct err_info *info)
{
    static const char scheme[] = "Bearer ";
    struct credential credential = {.kind = CREDENTIAL_NONE};
    enum err e = ERR_OK;
    if (authorization != NULL) {
        credential.kind = CREDENTIAL_TOKEN;
        e = strncasecmp(authorization, scheme, sizeof scheme - 1) != 0
                ? ERR_UNAUTHENTICATED
                : secret_hash(SECRET_API_TOKEN, authorization + sizeof scheme - 1, credential.hash);
    } else if (cookie != NULL && *cookie != '\0') {
        credential.kind = CREDENTIAL_SESSION;
        e = secret_hash(SECRET_SESSION, cookie, credential.hash);
    }
    if (e != ERR_OK)
        return e == ERR_UNAUTHENTICATED ? credential_invalid(info) : e;
    *ret_credential = credential;
    return ERR_OK;
}

static enum err session_identify(struct db *db, const struct credential *credential, struct session_limits limits,
                                 struct identity *ret_identity, struct err_info *info)
{
    struct session_row row = {};
    enum err e = session_find(db, credential->hash, limits, &row, info);
    if (e != ERR_OK)
        return e;
    struct identity identity = {.grant = {.role = row.role}, .use_due = row.use_due};
    (void)snprintf(identity.actor, sizeof identity.actor, "user:%s", row.account);
    *ret_identity = identity;
    return ERR_OK;
}

static enum err token_identify(struct db *db, const struct credential *credential, struct identity *ret_identity,
                               struct err_info *info)
{
    struct api_token_row row = {};
    enum err e = api_token_find(db, credential->hash, &row, info);
    if (e != ERR_OK)
        return e;
    struct identity identity = {.grant = {.role = row.role, .is_token = true}, .use_due = row.use_due};
    (void)snprintf(identity.actor, sizeof identity.actor, "token:%s", row.name);
    *ret_identity = identity;
    return ERR_OK;
}

enum err credential_find(struct db *db, const struct credential *credential, struct session_limits limits,
                         struct identity *ret_identity, struct err_info *info)
{
    enum err e = ERR_NOT_FOUND;
    if (credential->kind == CREDENTIAL_SESSION)
        e = session_identify(db, credential, limits, ret_identity, info);
    else if (credential->kind == CREDENTIAL_TOKEN)
        e = token_identify(db, credential, ret_identity, info);
    return e == ERR_NOT_FOUND ? credential_invalid(info) : e;
}

enum err credential_use(struct db *db, const struct credential *credential, struct err_info *info)
{
    if (credential->kind == CREDENTIAL_SESSION)
        return session_use(db, credential->hash, info);
    return api_token_use(db, credential->hash, info);
}
