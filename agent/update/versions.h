#pragma once
/* Versions on the disk. All paths are below the working directory, which is the state directory:
 *
 *   download/<object>.part           what is being fetched
 *   unpack/<slot>/                   what is being verified
 *   objects/ab/abcd…                 files by SHA-256, read-only; manifests are objects, too
 *   slots/<slot>/<n>-<bundle8>/      a version: manifest.json and the files it lists, hard links of objects
 *   slots/<slot>/current, previous   symbolic links to versions; a rename switches
 *
 * A version's directory gets its name when it is complete and durable. Every function can be repeated. Blocks on the
 * disk; errors are ERR_NO_SPACE, ERR_IO, ERR_NO_MEMORY and those named. */

#include "agent/core/update.h"
#include "common/bundle/manifest.h"

enum { VERSION_PATH_SIZE = 256 };

/* Makes the directories above. */
[[nodiscard]] enum err versions_prepare(struct err_info *info);

/* The manifest of a bundle that was unpacked. ERR_NOT_FOUND, ERR_CORRUPT. manifest_free() it. */
[[nodiscard]] enum err versions_manifest(const char *bundle, struct manifest **ret_manifest);

/* The complete version of a bundle: its directory (relative path) and manifest (may be NULL). ERR_NOT_FOUND. */
[[nodiscard]] enum err versions_find(const char *slot, const char *bundle, char ret_dir[VERSION_PATH_SIZE],
                                     struct manifest **ret_manifest);

/* The complete version in a directory, whichever it is. ERR_NOT_FOUND, ERR_CORRUPT. */
[[nodiscard]] enum err versions_read(const char *dir, struct manifest **ret_manifest);

/* Builds the version unless it is there. ERR_NOT_FOUND: an object is missing. */
[[nodiscard]] enum err versions_stage(const char *slot, const struct manifest *manifest);

/* Makes the links name what the row says: first `previous`, then `current`. ERR_NOT_FOUND: the version that is to be
 * current is missing. */
[[nodiscard]] enum err versions_link(const struct update_row *row);

/* The bundle of the complete version a link ("current", "previous") names; "" when there is none. */
void versions_linked(const char *slot, const char *link, char ret_bundle[SHA256_HEX]);

/* Names of the slots that have a directory. */
[[nodiscard]] enum err versions_slots(char ret_slots[SLOT_COUNT_MAX][SLOT_NAME_SIZE], size_t *ret_count);

/* Removes whatever none of the rows needs. What cannot be removed is left for the next time. */
void versions_tidy(const struct update_row *rows, size_t count);

/* Where an object is downloaded to, and where a slot's bundle is unpacked. */
void versions_part_path(const char *object, char ret_path[VERSION_PATH_SIZE]);
void versions_scratch_path(const char *slot, char ret_path[VERSION_PATH_SIZE]);
