#include "common/bundle/minisig.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/crypt.h"
#include "common/base/text.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

/* What the base64 lines of minisign's files hold, byte for byte. */
struct public_blob {
    uint8_t algorithm[2];
    uint8_t id[MINISIG_ID];
    uint8_t key[32];
};

struct secret_blob {
    uint8_t algorithm[2];
    uint8_t kdf[2]; /* zero: not encrypted */
    uint8_t checksum_algorithm[2];
    uint8_t kdf_salt[32];
    uint8_t kdf_limits[16];
    uint8_t id[MINISIG_ID];
    uint8_t seed[32];
    uint8_t key[32];
    uint8_t checksum[32]; /* guards decryption only; zero when not encrypted */
};

struct signature_blob {
    uint8_t algorithm[2];
    uint8_t id[MINISIG_ID];
    uint8_t bytes[64];
};

static const uint8_t algorithm_key[2] = {'E', 'd'};
static const uint8_t algorithm_prehashed[2] = {'E', 'D'};
static const uint8_t algorithm_checksum[2] = {'B', '2'};

enum { DIGEST_SIZE = 64, BASE64_MAX = 4 * ((int)sizeof(struct secret_blob) / 3 + 1) + 1 };

static void cleanup_pkey_p(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
}
#define cleanup_pkey [[gnu::cleanup(cleanup_pkey_p)]]

static void cleanup_md_p(EVP_MD_CTX **ctx)
{
    EVP_MD_CTX_free(*ctx);
}
#define cleanup_md [[gnu::cleanup(cleanup_md_p)]]

/* ---- Ed25519 and BLAKE2b ---- */

static enum err message_digest(const void *message, size_t len, uint8_t ret_digest[DIGEST_SIZE])
{
    return EVP_Digest(message, len, ret_digest, NULL, EVP_blake2b512(), NULL) == 1 ? ERR_OK : ERR_INTERNAL;
}

static enum err ed25519_sign(const uint8_t seed[32], const void *bytes, size_t len, uint8_t ret_signature[64])
{
    cleanup_pkey EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, 32);
    cleanup_md EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t size = 64;
    if (key == NULL || ctx == NULL || EVP_DigestSignInit(ctx, NULL, NULL, NULL, key) != 1 ||
        EVP_DigestSign(ctx, ret_signature, &size, bytes, len) != 1 || size != 64)
        return ERR_INTERNAL;
    return ERR_OK;
}

static bool ed25519_verify(const uint8_t public[32], const void *bytes, size_t len, const uint8_t signature[64])
{
    cleanup_pkey EVP_PKEY *key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public, 32);
    cleanup_md EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    return key != NULL && ctx != NULL && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key) == 1 &&
           EVP_DigestVerify(ctx, signature, 64, bytes, len) == 1;
}

static enum err ed25519_public(const uint8_t seed[32], uint8_t ret_public[32])
{
    cleanup_pkey EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, 32);
    size_t size = 32;
    if (key == NULL || EVP_PKEY_get_raw_public_key(key, ret_public, &size) != 1 || size != 32)
        return ERR_INTERNAL;
    return ERR_OK;
}

/* What the global signature covers. Returns the number of bytes. */
static size_t global_message(const uint8_t bytes[64], const char *comment, uint8_t out[64 + MINISIG_COMMENT_MAX])
{
    memcpy(out, bytes, 64);
    (void)text_copy((char *)out + 64, MINISIG_COMMENT_MAX, comment); /* fits: checked when it was taken */
    return 64 + strlen(comment);
}

/* ---- text ---- */

struct line {
    const char *text;
    size_t len;
};

/* Takes the next line, without its end, off the text. */
static bool line_next(const char **text, size_t *left, struct line *ret_line)
{
    if (*left == 0)
        return false;
    const char *end = memchr(*text, '\n', *left);
    size_t len = end == NULL ? *left : (size_t)(end - *text);
    struct line line = {.text = *text, .len = len};
    size_t used = end == NULL ? len : len + 1;
    *text += used;
    *left -= used;
    if (line.len > 0 && line.text[line.len - 1] == '\r')
        line.len--;
    *ret_line = line;
    return true;
}

static bool line_starts(struct line line, const char *prefix)
{
    size_t n = strlen(prefix);
    return line.len >= n && memcmp(line.text, prefix, n) == 0;
}

/* Exactly size bytes of canonical base64. size is at most that of a secret_blob. */
static bool line_decode(struct line line, size_t size, void *ret_bytes)
{
    uint8_t bytes[BASE64_MAX];
    char again[BASE64_MAX];
    if (line.len != 4 * ((size + 2) / 3) || line.len >= sizeof bytes)
        return false;
    bool ok = EVP_DecodeBlock(bytes, (const uint8_t *)line.text, (int)line.len) >= (int)size;
    if (ok) {
        (void)EVP_EncodeBlock((uint8_t *)again, bytes, (int)size);
        ok = crypt_equal(again, line.text, line.len);
    }
    if (ok)
        memcpy(ret_bytes, bytes, size);
    OPENSSL_cleanse(bytes, sizeof bytes);
    OPENSSL_cleanse(again, sizeof again);
    return ok;
}

/* A key file: a comment line, one base64 line, and nothing but empty lines after it. */
static bool key_file_decode(const char *text, size_t len, size_t size, void *ret_bytes)
{
    struct line comment;
    struct line base64;
    struct line rest;
    if (len > MINISIG_FILE_MAX || !line_next(&text, &len, &comment) || !line_starts(comment, "untrusted comment:") ||
        !line_next(&text, &len, &base64) || !line_decode(base64, size, ret_bytes))
        return false;
    while (line_next(&text, &len, &rest))
        if (rest.len > 0)
            return false;
    return true;
}

static enum err text_take(struct buf *b, enum err e, char **ret_text)
{
    if (e == ERR_OK)
        *ret_text = buf_take(b);
    return e;
}

void minisig_id_text(const uint8_t id[MINISIG_ID], char ret_text[MINISIG_ID_TEXT])
{
    uint64_t value = 0; /* minisign prints the id as a little-endian number */
    for (size_t i = MINISIG_ID; i-- > 0;)
        value = value << 8 | id[i];
    (void)snprintf(ret_text, MINISIG_ID_TEXT, "%016llX", (unsigned long long)value);
}

/* ---- keys ---- */

enum err minisig_generate(struct minisig_secret *ret_secret, struct minisig_public *ret_public)
{
    struct minisig_secret secret;
    enum err e = random_bytes(secret.id, sizeof secret.id);
    if (e == ERR_OK)
        e = random_bytes(secret.seed, sizeof secret.seed);
    if (e == ERR_OK)
        e = ed25519_public(secret.seed, secret.key);
    if (e == ERR_OK) {
        *ret_secret = secret;
        memcpy(ret_public->id, secret.id, sizeof secret.id);
        memcpy(ret_public->key, secret.key, sizeof secret.key);
    }
    minisig_secret_wipe(&secret);
    return e;
}

void minisig_secret_wipe(struct minisig_secret *key)
{
    OPENSSL_cleanse(key, sizeof *key);
}

enum err minisig_public_parse(const char *text, size_t len, struct minisig_public *ret_public, struct err_info *info)
{
    struct public_blob blob;
    if (!key_file_decode(text, len, sizeof blob, &blob) || memcmp(blob.algorithm, algorithm_key, 2) != 0)
        return err_code(info, ERR_INVALID, "key_invalid", "this is not a minisign public key file");
    memcpy(ret_public->id, blob.id, sizeof blob.id);
    memcpy(ret_public->key, blob.key, sizeof blob.key);
    return ERR_OK;
}

enum err minisig_public_print(const struct minisig_public *key, char **ret_text)
{
    struct public_blob blob;
    memcpy(blob.algorithm, algorithm_key, 2);
    memcpy(blob.id, key->id, sizeof blob.id);
    memcpy(blob.key, key->key, sizeof blob.key);
    char base64[BASE64_MAX];
    char id[MINISIG_ID_TEXT];
    (void)EVP_EncodeBlock((uint8_t *)base64, (const uint8_t *)&blob, sizeof blob);
    minisig_id_text(key->id, id);
    cleanup_buf struct buf b = BUF_INIT(MINISIG_FILE_MAX);
    return text_take(&b, buf_addf(&b, "untrusted comment: minisign public key %s\n%s\n", id, base64), ret_text);
}

static enum err secret_from_blob(const struct secret_blob *blob, struct minisig_secret *ret_secret,
                                 struct err_info *info)
{
    static const uint8_t plain[2] = {0, 0};
    if (memcmp(blob->algorithm, algorithm_key, 2) != 0 || memcmp(blob->checksum_algorithm, algorithm_checksum, 2) != 0)
        return err_code(info, ERR_INVALID, "key_invalid", "this is not a minisign secret key file");
    if (memcmp(blob->kdf, plain, 2) != 0) {
        enum err e = err_code(info, ERR_UNSUPPORTED, "key_encrypted", "this secret key is protected by a password");
        err_next(info, "Use a key without one (musterctl key generate, or minisign -G -W) on a disk that is encrypted "
                       "itself.");
        return e;
    }
    uint8_t public[32];
    enum err e = ed25519_public(blob->seed, public);
    if (e != ERR_OK)
        return e;
    if (memcmp(public, blob->key, sizeof public) != 0)
        return err_code(info, ERR_INVALID, "key_invalid", "this secret key file is damaged: its two halves differ");
    memcpy(ret_secret->id, blob->id, sizeof blob->id);
    memcpy(ret_secret->seed, blob->seed, sizeof blob->seed);
    memcpy(ret_secret->key, blob->key, sizeof blob->key);
    return ERR_OK;
}

enum err minisig_secret_parse(const char *text, size_t len, struct minisig_secret *ret_secret, struct err_info *info)
{
    struct secret_blob blob;
    if (!key_file_decode(text, len, sizeof blob, &blob))
        return err_code(info, ERR_INVALID, "key_invalid", "this is not a minisign secret key file");
    enum err e = secret_from_blob(&blob, ret_secret, info);
    OPENSSL_cleanse(&blob, sizeof blob);
    return e;
}

enum err minisig_secret_print(const struct minisig_secret *key, char **ret_text)
{
    struct secret_blob blob = {0};
    memcpy(blob.algorithm, algorithm_key, 2);
    memcpy(blob.checksum_algorithm, algorithm_checksum, 2);
    memcpy(blob.id, key->id, sizeof blob.id);
    memcpy(blob.seed, key->seed, sizeof blob.seed);
    memcpy(blob.key, key->key, sizeof blob.key);
    char base64[BASE64_MAX];
    (void)EVP_EncodeBlock((uint8_t *)base64, (const uint8_t *)&blob, sizeof blob);
    OPENSSL_cleanse(&blob, sizeof blob);
    cleanup_buf struct buf b = BUF_INIT(MINISIG_FILE_MAX);
    enum err e = buf_addf(&b, "untrusted comment: minisign secret key, not encrypted\n%s\n", base64);
    OPENSSL_cleanse(base64, sizeof base64);
    return text_take(&b, e, ret_text);
}

/* ---- signatures ---- */

/* The comment of `trusted comment: TEXT`, printable. */
static bool comment_take(struct line line, char ret_comment[MINISIG_COMMENT_MAX])
{
    static const char prefix[] = "trusted comment: ";
    if (!line_starts(line, prefix))
        return false;
    const char *text = line.text + strlen(prefix);
    size_t len = line.len - strlen(prefix);
    if (len >= MINISIG_COMMENT_MAX || !text_is_utf8(text, len))
        return false;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 && text[i] != '\t')
            return false;
    memcpy(ret_comment, text, len);
    ret_comment[len] = '\0';
    return true;
}

enum err minisig_parse(const char *text, size_t len, struct minisig_signature *ret_signature, struct err_info *info)
{
    struct signature_blob blob;
    struct minisig_signature s;
    struct line comment;
    struct line base64;
    struct line trusted;
    struct line global;
    struct line rest;
    bool ok = len <= MINISIG_FILE_MAX && line_next(&text, &len, &comment) &&
              line_starts(comment, "untrusted comment:") && line_next(&text, &len, &base64) &&
              line_decode(base64, sizeof blob, &blob) && line_next(&text, &len, &trusted) &&
              comment_take(trusted, s.comment) && line_next(&text, &len, &global) &&
              line_decode(global, sizeof s.global, s.global);
    while (ok && line_next(&text, &len, &rest))
        ok = rest.len == 0;
    if (ok && memcmp(blob.algorithm, algorithm_key, 2) == 0) {
        enum err e = err_code(info, ERR_UNSUPPORTED, "signature_legacy",
                              "this is a legacy minisign signature (\"Ed\"), which is not accepted");
        err_next(info,
                 "Sign again with the prehashed form: minisign 0.10 and newer do it by default, older ones by -H.");
        return e;
    }
    if (!ok || memcmp(blob.algorithm, algorithm_prehashed, 2) != 0)
        return err_code(info, ERR_INVALID, "signature_malformed", "this is not a minisign signature file");
    memcpy(s.id, blob.id, sizeof s.id);
    memcpy(s.bytes, blob.bytes, sizeof s.bytes);
    *ret_signature = s;
    return ERR_OK;
}

static enum err signature_print(const struct minisig_signature *s, char **ret_text)
{
    struct signature_blob blob;
    memcpy(blob.algorithm, algorithm_prehashed, 2);
    memcpy(blob.id, s->id, sizeof blob.id);
    memcpy(blob.bytes, s->bytes, sizeof blob.bytes);
    char base64[BASE64_MAX];
    char global[BASE64_MAX];
    char id[MINISIG_ID_TEXT];
    (void)EVP_EncodeBlock((uint8_t *)base64, (const uint8_t *)&blob, sizeof blob);
    (void)EVP_EncodeBlock((uint8_t *)global, s->global, sizeof s->global);
    minisig_id_text(s->id, id);
    cleanup_buf struct buf b = BUF_INIT(MINISIG_FILE_MAX);
    return text_take(&b,
                     buf_addf(&b, "untrusted comment: signature of minisign key %s\n%s\ntrusted comment: %s\n%s\n", id,
                              base64, s->comment, global),
                     ret_text);
}

enum err minisig_sign(const struct minisig_secret *key, const void *message, size_t len, const char *comment,
                      char **ret_text)
{
    struct minisig_signature s;
    struct line line = {.text = comment, .len = strlen(comment)};
    if (!text_copy(s.comment, sizeof s.comment, comment) || memchr(line.text, '\n', line.len) != NULL)
        return ERR_INVALID;
    memcpy(s.id, key->id, sizeof s.id);
    uint8_t digest[DIGEST_SIZE];
    uint8_t global[64 + MINISIG_COMMENT_MAX];
    enum err e = message_digest(message, len, digest);
    if (e == ERR_OK)
        e = ed25519_sign(key->seed, digest, sizeof digest, s.bytes);
    if (e == ERR_OK)
        e = ed25519_sign(key->seed, global, global_message(s.bytes, comment, global), s.global);
    return e == ERR_OK ? signature_print(&s, ret_text) : e;
}

enum err minisig_verify(const struct minisig_signature *signature, const struct minisig_public *key,
                        const void *message, size_t len, struct err_info *info)
{
    char id[MINISIG_ID_TEXT];
    minisig_id_text(signature->id, id);
    if (memcmp(signature->id, key->id, sizeof key->id) != 0)
        return err_code(info, ERR_UNTRUSTED, "signature_untrusted", "the signature is of another key, %s", id);
    uint8_t digest[DIGEST_SIZE];
    enum err e = message_digest(message, len, digest);
    if (e != ERR_OK)
        return e;
    uint8_t global[64 + MINISIG_COMMENT_MAX];
    size_t global_len = global_message(signature->bytes, signature->comment, global);
    if (!ed25519_verify(key->key, digest, sizeof digest, signature->bytes))
        return err_code(info, ERR_UNTRUSTED, "signature_untrusted",
                        "the signature by key %s is wrong: the signed bytes were changed", id);
    if (!ed25519_verify(key->key, global, global_len, signature->global))
        return err_code(info, ERR_UNTRUSTED, "signature_untrusted",
                        "the signature by key %s is wrong: its trusted comment was changed", id);
    return ERR_OK;
}
