#pragma once
/* Digests and randomness, by OpenSSL. */

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SHA256_SIZE = 32, SHA256_HEX = 65 };

/* A running SHA-256. One owner; not thread-safe. */
struct sha256;

[[nodiscard]] enum err sha256_new(struct sha256 **ret_hash);
[[nodiscard]] enum err sha256_add(struct sha256 *h, const void *bytes, size_t len);
/* Lower-case hex; the hash can only be freed afterwards. */
[[nodiscard]] enum err sha256_end(struct sha256 *h, char ret_hex[SHA256_HEX]);
void sha256_free(struct sha256 *h);

static inline void cleanup_sha256_p(struct sha256 **h)
{
    sha256_free(*h);
}
#define cleanup_sha256 [[gnu::cleanup(cleanup_sha256_p)]]

/* SHA-256 of bytes, as hex or raw. */
[[nodiscard]] enum err sha256_hex(const void *bytes, size_t len, char ret_hex[SHA256_HEX]);
[[nodiscard]] enum err sha256_raw(const void *bytes, size_t len, uint8_t ret_digest[SHA256_SIZE]);

/* SHA-256 and size of what fd gives from its present position to its end. Blocks. */
[[nodiscard]] enum err sha256_fd(int fd, char ret_hex[SHA256_HEX], int64_t *ret_size);

/* SHA-256 of len bytes of a file from offset on. Blocks. ERR_CORRUPT: the file ends before; ERR_IO, ERR_NO_MEMORY. */
[[nodiscard]] enum err sha256_pread(int fd, int64_t offset, int64_t len, char ret_hex[SHA256_HEX]);

/* len bytes from the kernel's generator. */
[[nodiscard]] enum err random_bytes(void *out, size_t len);

/* Uniform in [0, 1): for jitter, not for secrets. Any thread. */
double random_unit(void);

/* Compares in constant time. */
bool crypt_equal(const void *a, const void *b, size_t len);
