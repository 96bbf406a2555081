#pragma once
/* Tokens for automation. A token is known by the SHA-256 of its text only. */

#include "common/base/crypt.h"
#include "server/core/access.h"
#include "server/db/db.h"

enum { API_TOKEN_NAME_SIZE = 64 };

struct api_token {
    uint8_t hash[SHA256_SIZE];
    const char *name; /* [a-zA-Z0-9][a-zA-Z0-9._-]{0,62} */
    enum role role;
    const char *created_by;
    int64_t expires_in_s; /* 0: does not expire */
};

/* ERR_INVALID with the field `name`. Pure. */
[[nodiscard]] enum err api_token_check_name(const char *name, struct err_info *info);

/* Inside the caller's transaction, or alone. ret_expires_ms: Unix ms, 0 when it does not expire. */
[[nodiscard]] enum err api_token_add(struct db *db, const struct api_token *token, int64_t *ret_id,
                                     int64_t *ret_expires_ms, struct err_info *info);

struct api_token_row {
    char name[API_TOKEN_NAME_SIZE];
    enum role role;
    bool use_due; /* api_token_use() is due */
};

/* ERR_NOT_FOUND: unknown, expired or revoked. */
[[nodiscard]] enum err api_token_find(struct db *db, const uint8_t hash[SHA256_SIZE], struct api_token_row *ret_row,
                                      struct err_info *info);

/* It was used now: due once a minute, so that not every request writes. */
[[nodiscard]] enum err api_token_use(struct db *db, const uint8_t hash[SHA256_SIZE], struct err_info *info);

/* JSON of openapi's listTokens, newest first. free() it. */
[[nodiscard]] enum err api_token_list(struct db *db, char **ret_json, struct err_info *info);

/* JSON of one, as in the list. ERR_NOT_FOUND. free() it. */
[[nodiscard]] enum err api_token_get(struct db *db, int64_t id, char **ret_json, struct err_info *info);

/* Inside the caller's transaction. Revoking twice keeps the first time. ERR_NOT_FOUND. */
[[nodiscard]] enum err api_token_revoke(struct db *db, int64_t id, struct err_info *info);
