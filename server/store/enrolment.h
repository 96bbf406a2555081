#pragma once
/* Enrolment tokens, and devices that come in by them. A token is known by the SHA-256 of its text only. */

#include "common/base/crypt.h"
#include "server/core/device_id.h"
#include "server/db/db.h"

#include <stdbool.h>

struct enrolment_token {
    uint8_t hash[SHA256_SIZE];
    const char *site; /* made if it is new */
    int64_t uses;
    int64_t expires_in_s;
    const char *created_by;
};

/* Inside the caller's transaction. */
[[nodiscard]] enum err enrolment_token_add(struct db *db, const struct enrolment_token *token, int64_t *ret_id,
                                           int64_t *ret_expires_ms, struct err_info *info);

/* JSON of openapi's listEnrolmentTokens, newest first. free() it. */
[[nodiscard]] enum err enrolment_token_list(struct db *db, char **ret_json, struct err_info *info);

/* JSON of one token as in the list. ERR_NOT_FOUND. free() it. */
[[nodiscard]] enum err enrolment_token_get(struct db *db, int64_t id, char **ret_json, struct err_info *info);

/* Inside the caller's transaction. Revoking twice is fine. ERR_NOT_FOUND. */
[[nodiscard]] enum err enrolment_token_revoke(struct db *db, int64_t id, struct err_info *info);

/* What a token that does not exist, or is not even one, is answered with: ERR_UNAUTHENTICATED, `token_unknown`. */
[[nodiscard]] enum err enrolment_token_unknown(struct err_info *info);

struct enrolment {
    uint8_t token_hash[SHA256_SIZE];
    const char *public_key; /* SHA-256 of the device's SubjectPublicKeyInfo, hex */
    const char *name;       /* the name the device would like */
    const char *hardware;
    double beat_s; /* what a new device is told to keep */
};

struct admission {
    int64_t token_id;
    char device_id[DEVICE_ID_SIZE];
    bool again; /* this token and key had come before: same device, no use taken, nothing written */
};

/* Inside the caller's transaction: takes one use of the token and makes the device (a name that is taken gets a
 * suffix), its desired document and its liveness row. The token's row stays locked to the end, so that two requests
 * with one token come one after the other. enrolment_token_unknown(), or ERR_FORBIDDEN with code `token_revoked`,
 * `token_expired`, `token_used_up` or `device_retired`. */
[[nodiscard]] enum err enrolment_admit(struct db *db, const struct enrolment *request, struct admission *ret_admission,
                                       struct err_info *info);
