#include "common/base/crypt.h"

#include "common/base/file.h"
#include "common/base/text.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

struct sha256 {
    EVP_MD_CTX *ctx;
};

enum err sha256_new(struct sha256 **ret_hash)
{
    struct sha256 *h = calloc(1, sizeof *h);
    if (h == NULL)
        return ERR_NO_MEMORY;
    h->ctx = EVP_MD_CTX_new();
    if (h->ctx == NULL || EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) != 1) {
        sha256_free(h);
        return ERR_NO_MEMORY;
    }
    *ret_hash = h;
    return ERR_OK;
}

enum err sha256_add(struct sha256 *h, const void *bytes, size_t len)
{
    return EVP_DigestUpdate(h->ctx, bytes, len) == 1 ? ERR_OK : ERR_INTERNAL;
}

enum err sha256_end(struct sha256 *h, char ret_hex[SHA256_HEX])
{
    uint8_t digest[SHA256_SIZE];
    if (EVP_DigestFinal_ex(h->ctx, digest, NULL) != 1)
        return ERR_INTERNAL;
    text_hex(digest, sizeof digest, ret_hex);
    return ERR_OK;
}

void sha256_free(struct sha256 *h)
{
    if (h == NULL)
        return;
    EVP_MD_CTX_free(h->ctx);
    free(h);
}

enum err sha256_raw(const void *bytes, size_t len, uint8_t ret_digest[SHA256_SIZE])
{
    return EVP_Digest(bytes, len, ret_digest, NULL, EVP_sha256(), NULL) == 1 ? ERR_OK : ERR_INTERNAL;
}

enum err sha256_hex(const void *bytes, size_t len, char ret_hex[SHA256_HEX])
{
    uint8_t digest[SHA256_SIZE];
    enum err e = sha256_raw(bytes, len, digest);
    if (e == ERR_OK)
        text_hex(digest, sizeof digest, ret_hex);
    return e;
}

enum err sha256_fd(int fd, char ret_hex[SHA256_HEX], int64_t *ret_size)
{
    cleanup_sha256 struct sha256 *h = NULL;
    enum err e = sha256_new(&h);
    uint8_t chunk[16384];
    int64_t size = 0;
    while (e == ERR_OK) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n == 0)
            break;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ERR_IO;
        size += n;
        e = sha256_add(h, chunk, (size_t)n);
    }
    if (e == ERR_OK)
        e = sha256_end(h, ret_hex);
    if (e == ERR_OK)
        *ret_size = size;
    return e;
}

enum err sha256_pread(int fd, int64_t offset, int64_t len, char ret_hex[SHA256_HEX])
{
    cleanup_sha256 struct sha256 *h = NULL;
    enum err e = sha256_new(&h);
    uint8_t chunk[16384];
    while (e == ERR_OK && len > 0) {
        size_t n = len < (int64_t)sizeof chunk ? (size_t)len : sizeof chunk;
        e = file_pread(fd, chunk, n, offset);
        if (e == ERR_OK)
            e = sha256_add(h, chunk, n);
        offset += (int64_t)n;
        len -= (int64_t)n;
    }
    return e == ERR_OK ? sha256_end(h, ret_hex) : e;
}

enum err random_bytes(void *out, size_t len)
{
    uint8_t *p = out;
    while (len > 0) {
        ssize_t n = getrandom(p, len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ERR_IO;
        p += n;
        len -= (size_t)n;
    }
    return ERR_OK;
}

double random_unit(void)
{
    uint64_t bits = 0;
    if (random_bytes(&bits, sizeof bits) != ERR_OK)
        return 0.5;
    return (double)(bits >> 11) * 0x1.0p-53;
}

bool crypt_equal(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}
