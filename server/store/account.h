#pragma once
/* People who may log in. */

#include "server/core/access.h"
#include "server/db/db.h"

enum { ACCOUNT_NAME_SIZE = 64, PASSWORD_HASH_SIZE = 128 };

struct account {
    int64_t id;
    char name[ACCOUNT_NAME_SIZE];
    char password_hash[PASSWORD_HASH_SIZE]; /* argon2id, encoded form */
    bool must_change;                       /* a one-time password */
    bool disabled;
    enum role role;
};

/* ERR_NOT_FOUND. */
[[nodiscard]] enum err account_find(struct db *db, const char *name, struct account *ret_account,
                                    struct err_info *info);

[[nodiscard]] enum err account_any(struct db *db, bool *ret_any, struct err_info *info);

/* ret_created: false when the name is taken; then nothing is changed. ERR_INVALID: not a name. */
[[nodiscard]] enum err account_add(struct db *db, const char *name, const char *password_hash, bool must_change,
                                   enum role role, bool *ret_created, struct err_info *info);

/* ERR_NOT_FOUND. */
[[nodiscard]] enum err account_set_password(struct db *db, const char *name, const char *password_hash,
                                            bool must_change, struct err_info *info);
