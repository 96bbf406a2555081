#pragma once
/* What can be said and done while no agent runs, from its files. The working directory is the state directory. */

#include "agent/core/status.h"

/* What the journal and the links say; nothing is changed. server_url and name are from the settings, "" when they are
 * not there. json_decref() it. Errors have text in info; ERR_UNAVAILABLE: an agent runs, or is just starting. */
[[nodiscard]] enum err offline_status(const char *server_url, const char *name, json_t **ret_json,
                                      struct err_info *info);

/* Goes back, as the running agent would: writes the journal and the report, and turns the links. The next agent goes on
 * from there. ERR_UNAVAILABLE: an agent runs, or is just starting; ERR_CONFLICT: there is nothing to go back to;
 * ERR_NOT_FOUND: no such slot. */
[[nodiscard]] enum err offline_rollback(const char *slot, const char *by, char ret_text[STATUS_TEXT_SIZE],
                                        struct err_info *info);
