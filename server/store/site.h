#pragma once
/* Sites: where devices stand. */

#include "server/db/db.h"

/* JSON of openapi's listSites, by name. free() it. */
[[nodiscard]] enum err site_list(struct db *db, char **ret_json, struct err_info *info);
