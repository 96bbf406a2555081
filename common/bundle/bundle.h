#pragma once
/* A bundle: an uncompressed tar of manifest.json, its signatures and the payload the manifest lists, in that order
 * (docs/design/bundle-format.md). All functions block on files and keep no state: any thread.
 *
 * Reading streams the archive once, from fd's present position to its end (a pipe will do). Nothing is parsed before a
 * trusted signature over manifest.json was verified. What is refused, as a whole:
 *   ERR_UNTRUSTED   signature_untrusted   no signature of a trusted key, or a wrong one
 *   ERR_INVALID     manifest_invalid      the signed manifest is not valid
 *   ERR_UNSUPPORTED manifest_unsupported  it needs a newer version of Muster
 *   ERR_CORRUPT     payload_mismatch      an entry that is unlisted, missing, twice there, out of order, of another
 *                                         size or content, a link, not a regular file, or has strange bits
 *   ERR_CORRUPT     bundle_malformed      not a tar archive, or one with data after its end
 *   ERR_IO, ERR_NO_SPACE, ERR_NO_MEMORY */

#include "common/base/err.h"
#include "common/bundle/manifest.h"
#include "common/bundle/minisig.h"
#include "common/bundle/trust.h"

enum {
    BUNDLE_KEYS_MAX = 8, /* signatures of one bundle */
};

/* Whose signatures a bundle has. */
struct bundle_keys {
    size_t count;
    char ids[BUNDLE_KEYS_MAX][MINISIG_ID_TEXT];
};

/* Checks everything, keeps nothing. ret_keys: the trusted keys that have signed (may be NULL). manifest_free() the
 * manifest. */
[[nodiscard]] enum err bundle_verify(int fd, const struct trust *trust, struct manifest **ret_manifest,
                                     struct bundle_keys *ret_keys, struct err_info *info);

/* The same, while writing manifest.json, the trusted signatures and all files below the directory dir: new files only,
 * mode 0444 or 0555 whatever the umask, never through a link, files and directories fsynced. Files of equal content are
 * hard links of each other. On any error what was written is removed again. ERR_CONFLICT: a file is there already. */
[[nodiscard]] enum err bundle_extract(int fd, const struct trust *trust, int dir, struct manifest **ret_manifest,
                                      struct bundle_keys *ret_keys, struct err_info *info);

/* Reads and hashes everything but TRUSTS NOTHING: for people who look into a file. ret_keys are the key ids that the
 * signatures claim. */
[[nodiscard]] enum err bundle_inspect(int fd, struct manifest **ret_manifest, struct bundle_keys *ret_keys,
                                      struct err_info *info);

/* One file to put in. */
struct bundle_file {
    const char *source; /* where it is now */
    const char *path;   /* what it is called in the bundle */
};

/* Writes an unsigned bundle to the file out (replaced in one step; left as it was on error). head: the manifest without
 * `schema`, `created`, `files` and `payload`, which are added here; borrowed. created_ms: Unix ms, also every entry's
 * time, so that equal input makes equal bytes. The result is checked by manifest_parse before it is written. */
[[nodiscard]] enum err bundle_create(const json_t *head, const struct bundle_file *files, size_t count,
                                     int64_t created_ms, const char *out, struct manifest **ret_manifest,
                                     struct err_info *info);

/* Adds `manifest.json.<keyid>.minisig` to the bundle file at path (replaced in one step) after checking its payload.
 * ERR_CONFLICT code `already_signed`. */
[[nodiscard]] enum err bundle_sign(const char *path, const struct minisig_secret *key, struct err_info *info);
