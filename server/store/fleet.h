#pragma once
/* The fleet and its sites in numbers. */

#include "server/db/db.h"

/* JSON of openapi's Fleet. free() it. */
[[nodiscard]] enum err fleet_show(struct db *db, char **ret_json, struct err_info *info);

/* JSON of openapi's listSites, by name. free() it. */
[[nodiscard]] enum err fleet_sites(struct db *db, char **ret_json, struct err_info *info);
