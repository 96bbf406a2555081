#pragma once
/* An uploaded bundle's way in: verified as a whole, then stored in one transaction, or nothing is stored. */

#include "common/base/err.h"
#include "server/db/db.h"
#include "server/store/bundle.h"

#include <stdbool.h>

struct trust; /* common/bundle/trust.h */

struct intake_request {
    int fd; /* the whole upload in a regular file; borrowed, its position moves */
    const struct trust *trust;
    const char *actor; /* for the audit row */
    const char *address;
    const char *request_id;
};

/* Worker thread; blocks for about a second per 100 MB. Memory: one chunk of 1 MiB.
 * ret_id: the bundle's id. ret_created: false when the same bundle was here already.
 * ERR_UNTRUSTED `signature_untrusted`, ERR_CORRUPT `payload_mismatch`, ERR_INVALID `manifest_invalid`,
 * ERR_CONFLICT `version_taken` (another bundle has this slot and version). */
[[nodiscard]] enum err intake_bundle(struct db *db, const struct intake_request *request, char ret_id[BUNDLE_ID_SIZE],
                                     bool *ret_created, struct err_info *info);
