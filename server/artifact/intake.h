#pragma once
/* An uploaded bundle's way in: verified as a whole, then stored in one transaction, or nothing is stored. In one
 * request, or in parts that may come over hours, to different servers (server/store/upload.h). */

#include "common/base/err.h"
#include "server/artifact/checker.h"
#include "server/db/db.h"
#include "server/store/bundle.h"
#include "server/store/upload.h"

#include <stdbool.h>

struct trust; /* common/bundle/trust.h */

struct intake_request {
    int fd; /* the whole upload, or one part of it, in a regular file; borrowed, its position moves */
    const struct trust *trust;
    const char *actor; /* for the audit row; whose upload it is */
    const char *address;
    const char *request_id;
};

/* Worker thread; blocks for about a second per 100 MB. Memory: one chunk of 1 MiB.
 * ret_id: the bundle's id. ret_created: false when the same bundle was here already.
 * ERR_UNTRUSTED `signature_untrusted`, ERR_CORRUPT `payload_mismatch`, ERR_INVALID `manifest_invalid`,
 * ERR_CONFLICT `version_taken` (another bundle has this slot and version). */
[[nodiscard]] enum err intake_bundle(struct db *db, const struct intake_request *request, char ret_id[BUNDLE_ID_SIZE],
                                     bool *ret_created, struct err_info *info);

/* The bytes first … last of a file of size bytes, whose SHA-256 the client knows. */
struct intake_part {
    const char *sha256;
    int64_t first, last, size;
    struct upload_limits limits;
};

struct intake_progress {
    bool complete;           /* it is a bundle now; then the next two */
    bool created;            /* false: the same bundle was here already */
    char id[BUNDLE_ID_SIZE]; /* of the bundle */
};

/* Takes one part: verifies what is new in it together with all before it, then keeps it. What was verified and what is
 * kept are the same bytes. Bytes that are here already are skipped; of a part that does not end the file only whole
 * chunks are kept, so that the client goes on from what upload_show() says. A part that is wrong ends the upload:
 * nothing of it is kept. Errors as above, and ERR_CONFLICT `upload_out_of_order` (bytes between the last part and this
 * one are missing), ERR_CORRUPT `upload_digest_mismatch`, and those of upload_open(). */
[[nodiscard]] enum err intake_part(struct db *db, struct checkers *checkers, const struct intake_request *request,
                                   const struct intake_part *part, struct intake_progress *ret_progress,
                                   struct err_info *info);
