#pragma once
/* What an administrator does on the server's command line, and the first account. Nobody is asked who they are: who
 * can reach the database may do it. Each writes an audit row as "system". */

#include "server/db/db.h"
#include "server/http/password.h"
#include "server/http/secret.h"

/* Gives the account a one-time password and ends its logins; makes `admin` when that is asked for and not there.
 * ERR_NOT_FOUND: any other name that is not there. */
[[nodiscard]] enum err admin_reset_password(struct db *db, const char *name, char ret_password[PASSWORD_ONE_TIME_SIZE],
                                            struct err_info *info);

/* Makes `admin` when there is no account at all; ret_password is "" when there was one. Several servers may do it at
 * once: one gets the password. */
[[nodiscard]] enum err admin_first_account(struct db *db, char ret_password[PASSWORD_ONE_TIME_SIZE],
                                           struct err_info *info);

/* Makes an API token that does not expire. */
[[nodiscard]] enum err admin_create_token(struct db *db, const char *name, const char *role,
                                          char ret_token[SECRET_TEXT_MAX], struct err_info *info);
