#include "common/base/text.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum err text_to_i64(const char *s, int64_t min, int64_t max, int64_t *ret_value)
{
    if (s == NULL || !(*s == '-' || (*s >= '0' && *s <= '9')))
        return ERR_INVALID;
    errno = 0;
    char *end = NULL;
    long long value = strtoll(s, &end, 10);
    if (errno != 0 || end == s || *end != '\0' || value < min || value > max)
        return ERR_INVALID;
    *ret_value = value;
    return ERR_OK;
}

enum err text_to_f64(const char *s, double min, double max, double *ret_value)
{
    if (s == NULL || *s == '\0' || strspn(s, "0123456789.-+eE") != strlen(s) || *s == '+')
        return ERR_INVALID;
    char *end = NULL;
    double value = strtod(s, &end); /* no program here calls setlocale: the C locale's '.' */
    if (end == s || *end != '\0' || !isfinite(value) || value < min || value > max)
        return ERR_INVALID;
    *ret_value = value;
    return ERR_OK;
}

void text_hex(const void *bytes, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *in = bytes;
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[in[i] >> 4];
        out[2 * i + 1] = digits[in[i] & 15];
    }
    out[2 * len] = '\0';
}

/* Of a character that is a hex digit. */
static unsigned hex_digit(char c)
{
    unsigned digit = (unsigned char)c;
    return digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10;
}

enum err text_unhex(const char *hex, size_t len, void *ret_bytes)
{
    if (hex == NULL || strlen(hex) != 2 * len)
        return ERR_INVALID;
    if (strspn(hex, "0123456789abcdefABCDEF") != 2 * len)
        return ERR_INVALID;
    uint8_t *out = ret_bytes;
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)(hex_digit(hex[2 * i]) << 4 | hex_digit(hex[2 * i + 1]));
    return ERR_OK;
}

void text_base32(const uint8_t *bytes, size_t len, char *out)
{
    static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";
    uint32_t bits = 0;
    unsigned held = 0;
    for (size_t i = 0; i < len; i++) {
        bits = (bits & 0xff) << 8 | bytes[i];
        held += 8;
        while (held >= 5) {
            held -= 5;
            *out++ = alphabet[bits >> held & 31];
        }
    }
    if (held > 0)
        *out++ = alphabet[bits << (5 - held) & 31];
    *out = '\0';
}

bool text_is_sha256(const char *s)
{
    return s != NULL && strspn(s, "0123456789abcdef") == 64 && s[64] == '\0';
}

bool text_eq(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

bool text_starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

int text_index(const char *s, const char *const *names, int count)
{
    for (int i = 0; i < count; i++)
        if (text_eq(s, names[i]))
            return i;
    return -1;
}

bool text_copy(char *out, size_t size, const char *s)
{
    int n = snprintf(out, size, "%s", s);
    return n >= 0 && (size_t)n < size;
}

bool text_glob(const char *pattern, const char *s)
{
    const char *star = NULL;
    const char *retry = NULL;
    while (*s != '\0') {
        if (*pattern == '*') {
            star = pattern++;
            retry = s;
        } else if (*pattern == *s) {
            pattern++;
            s++;
        } else if (star != NULL) {
            pattern = star + 1;
            s = ++retry;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

/* Bytes of the character that starts at s, 0 when it is not valid. Ranges: Unicode 15, table 3-7. */
static size_t utf8_length(const unsigned char *s, size_t left)
{
    unsigned char c = s[0];
    if (c >= 0x01 && c <= 0x7f)
        return 1;
    size_t n = c >= 0xc2 && c <= 0xdf ? 2 : (c & 0xf0) == 0xe0 ? 3 : c >= 0xf0 && c <= 0xf4 ? 4 : 0;
    if (n == 0 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (c == 0xe0 && s[1] < 0xa0) || (c == 0xf0 && s[1] < 0x90);
    bool outside = (c == 0xed && s[1] > 0x9f) || (c == 0xf4 && s[1] > 0x8f);
    return overlong || outside ? 0 : n;
}

bool text_is_utf8(const char *s, size_t len)
{
    for (size_t i = 0; i < len;) {
        size_t n = utf8_length((const unsigned char *)s + i, len - i);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

void text_printable(char *s)
{
    for (size_t left = strlen(s); left > 0;) {
        size_t n = utf8_length((const unsigned char *)s, left);
        bool control = n == 1 && ((unsigned char)*s < 0x20 || *s == 0x7f);
        bool control_c1 = n == 2 && (unsigned char)s[0] == 0xc2 && (unsigned char)s[1] < 0xa0;
        if (n == 0 || control || control_c1) {
            n = n == 0 ? 1 : n;
            memset(s, '?', n);
        }
        s += n;
        left -= n;
    }
}

bool text_version_older(const char *a, const char *b)
{
    int x[3] = {0};
    int y[3] = {0};
    if (sscanf(a, "%9d.%9d.%9d", &x[0], &x[1], &x[2]) != 3 || sscanf(b, "%9d.%9d.%9d", &y[0], &y[1], &y[2]) != 3)
        return false;
    for (int i = 0; i < 3; i++)
        if (x[i] != y[i])
            return x[i] < y[i];
    return false;
}
