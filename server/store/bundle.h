#pragma once
/* Bundles that were verified and stored. */

#include "server/db/db.h"

#include <stdbool.h>

struct manifest;    /* common/bundle/manifest.h */
struct bundle_keys; /* common/bundle/bundle.h */

enum { BUNDLE_ID_SIZE = 65 };

/* Inside the caller's transaction: whether the bundle of this manifest is stored already. Until the transaction ends
 * nobody else gets an answer for the same slot, so that what was found stays true.
 * ERR_CONFLICT code `version_taken`: another bundle has its slot and version. */
[[nodiscard]] enum err bundle_present(struct db *db, const struct manifest *manifest, bool *ret_present,
                                      struct err_info *info);

struct bundle_row {
    const struct manifest *manifest;
    const char *object_sha256;      /* of the whole bundle file; that object is stored first */
    const struct bundle_keys *keys; /* trusted keys whose signature was verified */
    const char *uploaded_by;
};

/* In the same transaction, when it is not there. */
[[nodiscard]] enum err bundle_add(struct db *db, const struct bundle_row *row, struct err_info *info);

/* Finds one by what people type: its id (64 hex digits) or `slot@version`. ERR_NOT_FOUND. */
[[nodiscard]] enum err bundle_find(struct db *db, const char *reference, char ret_id[BUNDLE_ID_SIZE],
                                   struct err_info *info);

/* JSON of openapi's Bundle; reference as in bundle_find. ERR_NOT_FOUND. free() it. */
[[nodiscard]] enum err bundle_get(struct db *db, const char *reference, char **ret_json, struct err_info *info);

/* JSON of openapi's listBundles, newest first; slot NULL: all. before: id of the last bundle of the page before, or
 * NULL. free() it. */
[[nodiscard]] enum err bundle_list(struct db *db, const char *slot, int64_t limit, const char *before, char **ret_json,
                                   struct err_info *info);
