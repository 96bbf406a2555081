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
 *   ERR_CONFLICT    bundle_is_delta       a delta bundle where only a full one will do
 *   ERR_IO, ERR_NO_SPACE, ERR_NO_MEMORY */

#include "common/base/err.h"
#include "common/bundle/manifest.h"
#include "common/bundle/minisig.h"
#include "common/bundle/trust.h"
#include "common/delta/delta.h"

enum {
    BUNDLE_KEYS_MAX = 8, /* signatures of one bundle */
};

/* Whose signatures a bundle has. */
struct bundle_keys {
    size_t count;
    char ids[BUNDLE_KEYS_MAX][MINISIG_ID_TEXT];
};

/* Checks everything, keeps nothing. ret_keys: the different trusted keys that have signed, at least trust->required
 * (may be NULL). Compressed files are decompressed, so that what is right here can be extracted, too. A delta bundle is
 * refused. manifest_free() the manifest. */
[[nodiscard]] enum err bundle_verify(int fd, const struct trust *trust, struct manifest **ret_manifest,
                                     struct bundle_keys *ret_keys, struct err_info *info);

/* How far a bundle file that is unfinished or damaged is right: where the first block of its payload begins that has
 * another digest than the signed manifest says, or -1 when none is known to be wrong (which is not: all are right). fd
 * can be sought and may end anywhere. trust as everywhere: of an unsigned file nothing is known. ERR_IO, ERR_NO_MEMORY.
 */
[[nodiscard]] enum err bundle_damage(int fd, const struct trust *trust, int64_t *ret_offset);

/* Files of older versions, by digest, to rebuild deltas from. */
struct bundle_olds {
    /* A read-only fd of the regular file with this SHA-256 (the caller closes it). ERR_NOT_FOUND. */
    enum err (*open)(void *user, const char *sha256, int *ret_fd, struct err_info *info);
    void *user;
};

/* The same, while writing manifest.json, the trusted signatures and all files below the directory dir: new files only,
 * mode 0444 or 0555 whatever the umask, never through a link, files and directories fsynced. Files of equal content are
 * hard links of each other. On any error what was written is removed again. ERR_CONFLICT: a file is there already.
 *
 * olds: for a delta bundle, NULL when there are none. A delta bundle is the same signed manifest and the same
 * signatures, so it is the same bundle with the same id; but in place of an entry `payload/<sha256 of the entry>` it
 * may have `delta/<sha256 of the file>` (common/delta, made from one of olds) or the empty `same/<sha256 of the file>`
 * (one of olds is that file). Nothing vouches for those entries and nothing has to: what they make is checked against
 * the signed digest of the file. Then also: ERR_CONFLICT code `delta_wrong_base` (olds lacks what it was made from, or
 * that file is damaged), ERR_CORRUPT code `delta_invalid`, ERR_UNSUPPORTED code `delta_unsupported`: fetch the full
 * bundle instead. */
[[nodiscard]] enum err bundle_extract(int fd, const struct trust *trust, const struct bundle_olds *olds, int dir,
                                      struct manifest **ret_manifest, struct bundle_keys *ret_keys,
                                      struct err_info *info);

/* What bundle_delta found, for people and for deciding whether it is worth it. */
struct bundle_delta_report {
    int64_t full_size;        /* of the new bundle file */
    int64_t delta_size;       /* of the delta bundle file */
    size_t same, delta, full; /* entries by how they travel */
};

/* Makes the delta bundle that turns what an extracted old bundle has into a new one. Both fds are full bundles, read
 * from their beginning; they must have been verified by the caller. Each file is predicted from the old file of the
 * same path, else from the closest by name and size; what does not get smaller, or cannot be rebuilt within a device's
 * memory, travels in full. scratch: an existing directory with room for the files of both. Writes the file out in one
 * step. ret_report may be NULL. ERR_CONFLICT code `bundle_slots_differ`; else as bundle_verify and delta_create. */
[[nodiscard]] enum err bundle_delta(int old_fd, int new_fd, const struct delta_options *options, const char *scratch,
                                    const char *out, struct bundle_delta_report *ret_report, struct err_info *info);

/* How a payload entry of a bundle file travels. */
enum bundle_form {
    BUNDLE_FULL, /* as the manifest lists it */
    BUNDLE_SAME, /* not at all: an older version has the same file */
    BUNDLE_DELTA /* as a delta against a file of an older version */
};

struct bundle_part {
    enum bundle_form form;
    int64_t size;                /* of the entry's bytes */
    char old_sha256[SHA256_HEX]; /* of the old file that it needs; "" when it needs none */
    struct delta_info about;     /* of a delta */
};

/* For people who look into a file: reads everything, delta bundles as well, of which it checks all that can be checked
 * without the old files. trust NULL TRUSTS NOTHING; ret_keys are then the key ids that the signatures claim. ret_parts
 * (may be NULL): one for each payload entry of the manifest; free() them. Deltas are kept in an unlinked file of
 * $TMPDIR while they are looked at. */
[[nodiscard]] enum err bundle_inspect(int fd, const struct trust *trust, struct manifest **ret_manifest,
                                      struct bundle_keys *ret_keys, struct bundle_part **ret_parts,
                                      struct err_info *info);

/* One file to put in. */
struct bundle_file {
    const char *source; /* where it is now */
    const char *path;   /* what it is called in the bundle */
    bool executable;    /* mode 0555 even if the source has no x bit; one that has gets it in any case, else 0444 */
    bool compress;      /* zstd, where that saves at least 5 % */
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
