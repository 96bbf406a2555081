#pragma once
/* Keys and signatures in minisign's format, so that Debian's minisign verifies ours and the other way round: Ed25519
 * over BLAKE2b-512 ("ED"). The older form without prehashing ("Ed") is refused. Pure; any thread. */

#include "common/base/err.h"

#include <stddef.h>
#include <stdint.h>

enum {
    MINISIG_ID = 8,          /* bytes of a key id */
    MINISIG_ID_TEXT = 17,    /* the id as minisign prints it: 16 upper-case hex digits and a NUL */
    MINISIG_FILE_MAX = 4096, /* most bytes of a key or signature file */
    MINISIG_COMMENT_MAX = 1024
};

struct minisig_public {
    uint8_t id[MINISIG_ID];
    uint8_t key[32];
};

/* Wipe it with minisig_secret_wipe() as soon as it is not needed. */
struct minisig_secret {
    uint8_t id[MINISIG_ID];
    uint8_t seed[32];
    uint8_t key[32]; /* the public half */
};

struct minisig_signature {
    uint8_t id[MINISIG_ID];
    uint8_t bytes[64];                 /* over BLAKE2b-512 of the message */
    char comment[MINISIG_COMMENT_MAX]; /* the trusted comment */
    uint8_t global[64];                /* over bytes and comment */
};

/* A new random key pair. */
[[nodiscard]] enum err minisig_generate(struct minisig_secret *ret_secret, struct minisig_public *ret_public);

/* Key and signature files, as text. Parsing: ERR_INVALID or ERR_UNSUPPORTED (encrypted keys, legacy signatures) with
 * text in info. Printing: free() the text; that of a secret key is to be wiped and written with mode 0600. */
[[nodiscard]] enum err minisig_public_parse(const char *text, size_t len, struct minisig_public *ret_public,
                                            struct err_info *info);
[[nodiscard]] enum err minisig_public_print(const struct minisig_public *key, char **ret_text);
[[nodiscard]] enum err minisig_secret_parse(const char *text, size_t len, struct minisig_secret *ret_secret,
                                            struct err_info *info);
[[nodiscard]] enum err minisig_secret_print(const struct minisig_secret *key, char **ret_text);
[[nodiscard]] enum err minisig_parse(const char *text, size_t len, struct minisig_signature *ret_signature,
                                     struct err_info *info);

/* Signs the message; comment (one line, below MINISIG_COMMENT_MAX bytes) is the trusted comment. ret_text is the
 * signature file (free() it). */
[[nodiscard]] enum err minisig_sign(const struct minisig_secret *key, const void *message, size_t len,
                                    const char *comment, char **ret_text);

/* ERR_OK only when the key's id is the signature's and both signatures, of the message and of the trusted comment, are
 * right; else ERR_UNTRUSTED, code `signature_untrusted`. */
[[nodiscard]] enum err minisig_verify(const struct minisig_signature *signature, const struct minisig_public *key,
                                      const void *message, size_t len, struct err_info *info);

void minisig_id_text(const uint8_t id[MINISIG_ID], char ret_text[MINISIG_ID_TEXT]);

void minisig_secret_wipe(struct minisig_secret *key);
