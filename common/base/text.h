#pragma once
/* Small text helpers: strict numbers, hex, base32, comparison. */

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The whole string is a decimal number inside [min, max]; else ERR_INVALID. No spaces, no '+'. */
[[nodiscard]] enum err text_to_i64(const char *s, int64_t min, int64_t max, int64_t *ret_value);

/* The whole string is a finite decimal number inside [min, max]; '.' whatever the locale. */
[[nodiscard]] enum err text_to_f64(const char *s, double min, double max, double *ret_value);

/* Lower-case hex of len bytes; out has room for 2 * len + 1. */
void text_hex(const void *bytes, size_t len, char *out);

/* Strict lower- or upper-case hex of exactly 2 * len digits; else ERR_INVALID. */
[[nodiscard]] enum err text_unhex(const char *hex, size_t len, void *ret_bytes);

/* RFC 4648 base32 in lower case, without padding; out has room for (len * 8 + 4) / 5 + 1. */
void text_base32(const uint8_t *bytes, size_t len, char *out);

/* s is exactly 64 lower-case hex digits. NULL is not. */
bool text_is_sha256(const char *s);

/* Both strings are the same; NULL equals only NULL. */
bool text_eq(const char *a, const char *b);

bool text_starts(const char *s, const char *prefix);

/* Version a is older than b; of both `major.minor.patch` counts, and false when one has not got that. */
bool text_version_older(const char *a, const char *b);

/* Which of count names s is, or -1. */
int text_index(const char *s, const char *const *names, int count);

/* Copies s (cut if it does not fit) with a NUL; true when nothing was cut. */
bool text_copy(char *out, size_t size, const char *s);

/* `*` matches any run of characters, everything else itself. Linear in time for any pattern. */
bool text_glob(const char *pattern, const char *s);

/* Valid UTF-8 without NUL or surrogates. */
bool text_is_utf8(const char *s, size_t len);

/* Makes s fit for a terminal, a log or JSON: control characters and bytes that are not UTF-8 become '?'. */
void text_printable(char *s);
