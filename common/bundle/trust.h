#pragma once
/* The release keys whose signatures count: every `*.pub` file (minisign public keys) of one directory. Read once, then
 * only read: any thread. */

#include "common/base/err.h"
#include "common/bundle/minisig.h"

enum { TRUST_KEYS_MAX = 64 };

struct trust {
    size_t required; /* how many different keys must have signed; trust_load sets 1 */
    size_t count;
    struct minisig_public keys[TRUST_KEYS_MAX];
};

/* Reads the directory (blocks). No key, an unreadable or malformed file, or two different keys with one id are errors
 * that name the file and say what to do; the same key twice counts once. trust_free() the result. */
[[nodiscard]] enum err trust_load(const char *dir, struct trust **ret_trust, struct err_info *info);

/* The key with this id, or NULL. Borrowed from trust. */
const struct minisig_public *trust_find(const struct trust *trust, const uint8_t id[MINISIG_ID]);

struct trust *trust_free(struct trust *trust);

static inline void cleanup_trust_p(struct trust **trust)
{
    (void)trust_free(*trust);
}
#define cleanup_trust [[gnu::cleanup(cleanup_trust_p)]]
