#pragma once
/* Passwords: argon2id with 46 MiB and one pass, of which at most two run at once (so that logins cannot eat the
 * memory). A hash takes some 50 ms. */

#include "common/base/err.h"
#include "server/store/account.h"

struct passwords;

enum { PASSWORD_MIN = 12, PASSWORD_MAX = 1024, PASSWORD_ONE_TIME_SIZE = 24 };

[[nodiscard]] enum err passwords_new(struct passwords **ret_passwords);
void passwords_free(struct passwords *p);

/* Any thread; waits for its turn. ERR_UNAVAILABLE when that takes too long. */
[[nodiscard]] enum err passwords_hash(struct passwords *p, const char *password, char ret_hash[PASSWORD_HASH_SIZE],
                                      struct err_info *info);

/* hash NULL: an account that is not there; the answer is no, and takes as long as one that is. Waits as above. */
[[nodiscard]] enum err passwords_verify(struct passwords *p, const char *hash, const char *password, bool *ret_right,
                                        struct err_info *info);

/* A random one of 100 bits, in groups that can be read aloud. */
[[nodiscard]] enum err password_one_time(char ret_password[PASSWORD_ONE_TIME_SIZE]);
