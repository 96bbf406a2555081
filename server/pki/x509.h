#pragma once
/* Making and reading X.509 certificates with OpenSSL. Pure but for randomness; any thread. Only server/pki includes
 * this. */

#include "common/base/crypt.h"
#include "common/base/err.h"

#include <openssl/x509.h>
#include <stdint.h>

enum { X509_DAY_S = 86400 };

/* A certificate below a CA. */
struct x509_leaf {
    const char *common_name;
    const char *extended_key_usage; /* "clientAuth" or "serverAuth" */
    const char *alt_names;          /* NULL: none; "DNS:a,IP:10.0.0.1" */
    int64_t now_s;                  /* Unix seconds; valid from five minutes before, as clocks differ */
    int64_t days;                   /* but never past the CA's own end */
};

/* A certificate for key, signed by ca_key, with a random serial of 127 bits. X509_free() it. ERR_INTERNAL with
 * OpenSSL's reason. */
[[nodiscard]] enum err x509_issue_leaf(const struct x509_leaf *leaf, EVP_PKEY *key, X509 *ca, EVP_PKEY *ca_key,
                                       X509 **ret_certificate, struct err_info *info);

/* A self-signed CA that may sign leaves only. */
[[nodiscard]] enum err x509_issue_ca(const char *common_name, EVP_PKEY *key, int64_t now_s, int64_t days,
                                     X509 **ret_certificate, struct err_info *info);

/* End of validity in Unix seconds; 0 when it cannot be read. */
int64_t x509_not_after_s(const X509 *certificate);

/* SHA-256 of the certificate's DER and of a SubjectPublicKeyInfo, lower-case hex. */
[[nodiscard]] enum err x509_fingerprint(const X509 *certificate, char ret_hex[SHA256_HEX]);
[[nodiscard]] enum err x509_public_key_hash(const X509_PUBKEY *key, char ret_hex[SHA256_HEX]);

/* ERR_INTERNAL with what was tried and OpenSSL's oldest reason, whose queue is emptied. */
[[nodiscard]] enum err x509_fail(struct err_info *info, const char *what);

static inline void cleanup_x509_p(X509 **certificate)
{
    X509_free(*certificate);
}
#define cleanup_x509 [[gnu::cleanup(cleanup_x509_p)]]
static inline void cleanup_key_p(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
}
#define cleanup_key [[gnu::cleanup(cleanup_key_p)]]
static inline void cleanup_bio_p(BIO **bio)
{
    BIO_free_all(*bio);
}
#define cleanup_bio [[gnu::cleanup(cleanup_bio_p)]]
