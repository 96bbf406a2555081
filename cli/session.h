#pragma once
/* A person in person: a session by user name and password, for what an API token may not do. */

#include "cli/command.h"

/* The options of every command that needs one. */
#define SESSION_OPTIONS                                                                                                \
    {"user", OPTION_TEXT, "NAME", "account (default: asks; admin with --password-stdin)", false, 0, 0},                \
    {                                                                                                                  \
        "password-stdin", OPTION_FLAG, NULL, "read the password from stdin; a second line is the new password", false, \
            0, 0                                                                                                       \
    }

/* Asks for user name and password (or reads stdin) and logs in; a one-time password is changed on the way. ret_me: the
 * API's Me (json_decref() it). */
[[nodiscard]] enum err session_start(struct cli *cli, json_t **ret_me);

/* A request of the session. body is stolen, NULL for none; ret_json may be NULL. */
[[nodiscard]] enum err session_call(struct cli *cli, const char *method, const char *path, json_t *body,
                                    json_t **ret_json);

/* Logs out. After a failure (e) its own failure says nothing new: e is returned. */
[[nodiscard]] enum err session_end(struct cli *cli, enum err e);
