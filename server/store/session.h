#pragma once
/* Logins of people. A session is known by the SHA-256 of its cookie only. */

#include "common/base/crypt.h"
#include "server/core/access.h"
#include "server/db/db.h"

struct session_limits {
    int64_t idle_s; /* ends when it was not used for so long */
    int64_t max_s;  /* ends so long after its start, whatever happens */
};

struct session_row {
    char account[64];
    enum role role;
    bool use_due; /* session_use() is due */
};

/* Inside the caller's transaction, or alone. Sessions that have ended are removed on the way. */
[[nodiscard]] enum err session_add(struct db *db, const uint8_t hash[SHA256_SIZE], int64_t account_id,
                                   const char *address, struct session_limits limits, struct err_info *info);

/* ERR_NOT_FOUND: unknown or ended, or the account is disabled. */
[[nodiscard]] enum err session_find(struct db *db, const uint8_t hash[SHA256_SIZE], struct session_limits limits,
                                    struct session_row *ret_row, struct err_info *info);

/* It was used now: due once a minute, so that not every request writes. */
[[nodiscard]] enum err session_use(struct db *db, const uint8_t hash[SHA256_SIZE], struct err_info *info);

/* One that is not there is fine. */
[[nodiscard]] enum err session_remove(struct db *db, const uint8_t hash[SHA256_SIZE], struct err_info *info);

/* Every session of an account: its password was changed. */
[[nodiscard]] enum err session_remove_account(struct db *db, int64_t account_id, struct err_info *info);
