#pragma once
/* Secrets of sessions and tokens: random, recognisable by their prefix (so that a scanner finds a leaked one), and
 * stored as a SHA-256 only. Any thread. */

#include "common/base/crypt.h"

#include <stdbool.h>

enum { SECRET_BYTES_MAX = 32, SECRET_TEXT_MAX = 64 }; /* 256 random bits; the text with its NUL */

#define SECRET_SESSION "mss_"
#define SECRET_API_TOKEN "mst_"
#define SECRET_ENROLMENT "mse_"

struct secret {
    char text[SECRET_TEXT_MAX]; /* prefix and base32; shown once, never stored, never logged */
    uint8_t hash[SHA256_SIZE];  /* of the text */
};

/* bytes: 20 (160 bits) to SECRET_BYTES_MAX. ERR_INTERNAL when the kernel gives no randomness. */
[[nodiscard]] enum err secret_new(const char *prefix, size_t bytes, struct secret *ret_secret);

/* Hash of a text that came in. ERR_UNAUTHENTICATED when it has not this prefix or is too long to be one. */
[[nodiscard]] enum err secret_hash(const char *prefix, const char *text, uint8_t ret_hash[SHA256_SIZE]);
