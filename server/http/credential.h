#pragma once
/* What a caller of the API port shows, and who it is. */

#include "common/base/crypt.h"
#include "server/core/access.h"
#include "server/db/db.h"
#include "server/store/session.h"

enum { ACTOR_MAX = 80 };

/* Of a login: only over TLS, only from this host, not for scripts. */
#define SESSION_COOKIE "__Host-muster"

struct credential {
    enum { CREDENTIAL_NONE, CREDENTIAL_SESSION, CREDENTIAL_TOKEN } kind;
    uint8_t hash[SHA256_SIZE];
};

struct identity {
    char actor[ACTOR_MAX]; /* "user:admin", "token:ci" */
    struct grant grant;
    bool use_due; /* credential_use() is due */
};

/* What the headers show, or CREDENTIAL_NONE. Pure. authorization and cookie (the value of __Host-muster) may be NULL.
 * ERR_UNAUTHENTICATED when something is shown that cannot be a credential of ours. */
[[nodiscard]] enum err credential_read(const char *authorization, const char *cookie, struct credential *ret_credential,
                                       struct err_info *info);

/* Whose it is. ERR_UNAUTHENTICATED code `credentials_invalid` when it is unknown, ended or revoked, or the account is
 * disabled. */
[[nodiscard]] enum err credential_find(struct db *db, const struct credential *credential, struct session_limits limits,
                                       struct identity *ret_identity, struct err_info *info);

/* Notes that it was used now: a session that is not used ends. */
[[nodiscard]] enum err credential_use(struct db *db, const struct credential *credential, struct err_info *info);
