#pragma once
/* Bundles that were verified and stored. */

#include "server/db/db.h"

#include <stdbool.h>

struct manifest; /* common/bundle/manifest.h */

struct bundle_row {
    const struct manifest *manifest;
    const char *object_sha256; /* of the whole bundle file; the object is stored first */
    const char (*key_ids)[17]; /* trusted keys whose signature was verified */
    size_t key_count;
    const char *uploaded_by;
};

/* Inside the caller's transaction. ret_created: false when the bundle is there already (by id).
 * ERR_CONFLICT code `version_taken`: another bundle has this slot and version. */
[[nodiscard]] enum err bundle_add(struct db *db, const struct bundle_row *row, bool *ret_created,
                                  struct err_info *info);

/* The bundle is there. */
[[nodiscard]] enum err bundle_exists(struct db *db, const char *id, bool *ret_exists, struct err_info *info);

/* Finds one by what people type: its id (64 hex digits) or `slot@version`. ret_id has room for 65. ERR_NOT_FOUND. */
[[nodiscard]] enum err bundle_find(struct db *db, const char *reference, char ret_id[65], struct err_info *info);

/* JSON of openapi's Bundle; reference as in bundle_find. ERR_NOT_FOUND. free() it. */
[[nodiscard]] enum err bundle_get(struct db *db, const char *reference, char **ret_json, struct err_info *info);

/* JSON of openapi's listBundles, newest first; slot NULL: all. before: id of the last bundle of the page before, or
 * NULL. free() it. */
[[nodiscard]] enum err bundle_list(struct db *db, const char *slot, int64_t limit, const char *before, char **ret_json,
                                   struct err_info *info);
