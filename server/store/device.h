#pragma once
/* Devices as the API shows them, found by id, by name or by a selector. Devices that are retired are not found. */

#include "server/core/device_id.h"
#include "server/core/selector.h"
#include "server/db/db.h"

#include <jansson.h>

/* The id of the device that is called so by its id or its name. ERR_NOT_FOUND with what to do. */
[[nodiscard]] enum err device_find(struct db *db, const char *id_or_name, char ret_id[DEVICE_ID_SIZE],
                                   struct err_info *info);

/* The devices a selector matches, ordered by name. Columns: 0 id, 1 name, 2 site (its name), 3 hardware, 4 status,
 * 5 liveness. sel NULL: every device. rows_free() the result. */
[[nodiscard]] enum err device_select(struct db *db, const struct selector *sel, struct rows **ret_rows,
                                     struct err_info *info);

/* JSON of openapi's DevicePage. sel NULL: every device. after: name of the last device of the page before, NULL from
 * the start. free() it. */
[[nodiscard]] enum err device_list(struct db *db, const struct selector *sel, int64_t limit, const char *after,
                                   char **ret_json, struct err_info *info);

/* JSON of openapi's Device. ERR_NOT_FOUND. free() it. */
[[nodiscard]] enum err device_show(struct db *db, const char *device_id, char **ret_json, struct err_info *info);

/* Inside the caller's transaction: what the device says of its hardware and software becomes this inventory item, as it
 * came. Nothing is written when it says the same again. */
[[nodiscard]] enum err device_inventory_set(struct db *db, const char *device_id, const json_t *item,
                                            struct err_info *info);
