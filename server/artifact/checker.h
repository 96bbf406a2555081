#pragma once
/* Verifies a bundle while it arrives in pieces: a thread reads it through a pipe (bundle_verify) and says no as soon as
 * a signature, an entry or a digest is wrong. Checks of uploads that are not complete wait here for the next part; one
 * that is lost (restart, another server) is made again from what the database has. */

#include "common/base/crypt.h"
#include "common/bundle/bundle.h"

#include <stdint.h>

struct checker;

/* Starts the thread. trust is borrowed until checker_free(). */
[[nodiscard]] enum err checker_new(const struct trust *trust, struct checker **ret_checker, struct err_info *info);

/* The next bytes. Blocks while they are verified. An error of bundle_verify as soon as it is known: later pieces are
 * not looked at. One caller at a time. */
[[nodiscard]] enum err checker_feed(struct checker *c, const void *bytes, size_t len, struct err_info *info);

/* Bytes that were fed so far. */
int64_t checker_fed(const struct checker *c);

/* All has come: the digest of the file, and what was verified. ret_manifest: manifest_free() it. */
[[nodiscard]] enum err checker_end(struct checker *c, char ret_sha256[SHA256_HEX], struct manifest **ret_manifest,
                                   struct bundle_keys *ret_keys, struct err_info *info);

/* Ends the thread, whatever it is at. NULL is fine. */
void checker_free(struct checker *c);

static inline void cleanup_checker_p(struct checker **c)
{
    checker_free(*c);
}
#define cleanup_checker [[gnu::cleanup(cleanup_checker_p)]]

/* The waiting ones, by upload. Any thread. */
struct checkers;

[[nodiscard]] enum err checkers_new(struct checkers **ret_checkers);
void checkers_free(struct checkers *all);

/* Takes the upload's check out; NULL when there is none. The caller owns it. */
struct checker *checkers_take(struct checkers *all, int64_t upload);

/* Puts it back, for the next part; the one that has waited longest goes when there are too many. */
void checkers_put(struct checkers *all, int64_t upload, struct checker *c);
