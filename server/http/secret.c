#include "server/http/secret.h"

#include "common/base/text.h"

#include <string.h>

enum err secret_new(const char *prefix, size_t bytes, struct secret *ret_secret)
{
    uint8_t random[SECRET_BYTES_MAX];
    struct secret secret = {};
    size_t n = strlen(prefix);
    if (bytes > sizeof random || n + (bytes * 8 + 4) / 5 >= sizeof secret.text)
        return ERR_INTERNAL;
    enum err e = random_bytes(random, bytes);
    if (e != ERR_OK)
        return e;
    memcpy(secret.text, prefix, n);
    text_base32(random, bytes, secret.text + n);
    explicit_bzero(random, sizeof random);
    e = sha256_raw(secret.text, strlen(secret.text), secret.hash);
    if (e == ERR_OK)
        *ret_secret = secret;
    return e;
}

enum err secret_hash(const char *prefix, const char *text, uint8_t ret_hash[SHA256_SIZE])
{
    size_t n = strnlen(text, SECRET_TEXT_MAX);
    if (n == SECRET_TEXT_MAX || !text_starts(text, prefix))
        return ERR_UNAUTHENTICATED;
    return sha256_raw(text, n, ret_hash);
}
