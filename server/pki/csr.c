#include "server/pki/csr.h"

#include "common/base/text.h"
#include "server/pki/pem.h"
#include "server/pki/x509.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

enum { RSA_BITS_MIN = 2048, RSA_BITS_MAX = 8192 };

struct csr {
    X509_REQ *request;
    char public_key[SHA256_HEX];
};

static enum err csr_refuse(struct err_info *info, const char *why)
{
    ERR_clear_error();
    enum err e = err_field(info, ERR_INVALID, "csr", "%s", why);
    if (info != NULL)
        (void)text_copy(info->code, sizeof info->code, "csr_invalid");
    return e;
}

static bool curve_ok(const EVP_PKEY *key)
{
    char name[32];
    int spelled_out = 0; /* curve parameters instead of a name: other libraries trip over them */
    if (EVP_PKEY_get_group_name(key, name, sizeof name, NULL) != 1)
        return false;
    (void)EVP_PKEY_get_int_param(key, OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS, &spelled_out);
    return spelled_out == 0 && (text_eq(name, "prime256v1") || text_eq(name, "secp384r1"));
}

static bool key_ok(const EVP_PKEY *key)
{
    switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_EC:
        return curve_ok(key);
    case EVP_PKEY_ED25519:
        return true;
    case EVP_PKEY_RSA:
        return EVP_PKEY_get_bits(key) >= RSA_BITS_MIN && EVP_PKEY_get_bits(key) <= RSA_BITS_MAX;
    default:
        return false;
    }
}

static void cleanup_request_p(X509_REQ **request)
{
    X509_REQ_free(*request);
}
#define cleanup_request [[gnu::cleanup(cleanup_request_p)]]

static enum err request_check(X509_REQ *request, struct err_info *info)
{
    EVP_PKEY *key = X509_REQ_get0_pubkey(request);
    if (key == NULL || !key_ok(key))
        return csr_refuse(info, "the key must be EC P-256 or P-384, Ed25519, or RSA of 2048 to 8192 bits");
    if (X509_REQ_verify(request, key) != 1)
        return csr_refuse(info, "the request is not signed by the key it is for");
    return ERR_OK;
}

enum err csr_parse(const char *pem, size_t len, struct csr **ret_csr, struct err_info *info)
{
    if (len > CSR_PEM_MAX)
        return csr_refuse(info, "the request is larger than 16 KiB");
    cleanup_bio BIO *bio = BIO_new_mem_buf(pem, (int)len);
    if (bio == NULL)
        return ERR_NO_MEMORY;
    cleanup_request X509_REQ *request = PEM_read_bio_X509_REQ(bio, NULL, pem_no_password, NULL);
    if (request == NULL)
        return csr_refuse(info, "this is not a PEM certificate request (-----BEGIN CERTIFICATE REQUEST-----)");
    enum err e = request_check(request, info);
    char public_key[SHA256_HEX];
    if (e == ERR_OK)
        e = x509_public_key_hash(X509_REQ_get_X509_PUBKEY(request), public_key);
    if (e != ERR_OK)
        return e;
    struct csr *csr = calloc(1, sizeof *csr);
    if (csr == NULL)
        return ERR_NO_MEMORY;
    csr->request = request;
    request = NULL;
    memcpy(csr->public_key, public_key, sizeof csr->public_key);
    *ret_csr = csr;
    return ERR_OK;
}

void csr_free(struct csr *csr)
{
    if (csr == NULL)
        return;
    X509_REQ_free(csr->request);
    free(csr);
}

const char *csr_public_key(const struct csr *csr)
{
    return csr->public_key;
}

struct evp_pkey_st *csr_key(const struct csr *csr)
{
    return X509_REQ_get0_pubkey(csr->request);
}
