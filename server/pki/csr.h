#pragma once
/* A certificate signing request that was checked: it parses, its key is one we accept, and its own signature proves
 * that the sender has the private key. Its subject and its wishes for extensions are ignored. Pure; any thread. */

#include "common/base/crypt.h"
#include "common/base/err.h"

#include <stddef.h>

enum { CSR_PEM_MAX = 16 * 1024 };

struct csr;

/* pem: len bytes, one "CERTIFICATE REQUEST" block of at most CSR_PEM_MAX bytes. Accepted keys: EC P-256 and P-384,
 * Ed25519, RSA of 2048 to 8192 bits. ERR_INVALID with code `csr_invalid`. */
[[nodiscard]] enum err csr_parse(const char *pem, size_t len, struct csr **ret_csr, struct err_info *info);
void csr_free(struct csr *csr);

/* SHA-256 of the SubjectPublicKeyInfo, lower-case hex. Borrowed. */
const char *csr_public_key(const struct csr *csr);

/* The key itself, as OpenSSL's EVP_PKEY: for signing. Borrowed. */
struct evp_pkey_st *csr_key(const struct csr *csr);

static inline void cleanup_csr_p(struct csr **csr)
{
    csr_free(*csr);
}
#define cleanup_csr [[gnu::cleanup(cleanup_csr_p)]]
