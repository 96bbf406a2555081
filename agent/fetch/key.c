#include "agent/fetch/key.h"

#include "common/base/file.h"

#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { KEY_FILE_MAX = 16 * 1024 };

/* The content of a memory BIO as text; free() it. */
static char *bio_text(BIO *bio)
{
    char *bytes = NULL;
    long len = BIO_get_mem_data(bio, &bytes);
    return len > 0 ? strndup(bytes, (size_t)len) : NULL;
}

static bool key_store(const char *path, EVP_PKEY *key, struct outcome *outcome)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    char *pem = NULL;
    long len = 0;
    enum err e = ERR_NO_MEMORY;
    if (bio != NULL && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1) {
        len = BIO_get_mem_data(bio, &pem);
        e = file_write(path, pem, (size_t)len, 0600);
    }
    BIO_free(bio);
    return e == ERR_OK || outcome_error(outcome, e, "io_error", NULL);
}

static bool key_make(const char *path, EVP_PKEY **ret_key, struct outcome *outcome)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    if (key == NULL)
        return outcome_retry(outcome, "internal", "cannot make a key");
    if (!key_store(path, key, outcome)) {
        EVP_PKEY_free(key);
        return false;
    }
    *ret_key = key;
    return true;
}

bool key_load_or_make(const char *path, EVP_PKEY **ret_key, struct outcome *outcome)
{
    char *text = NULL;
    size_t len = 0;
    enum err e = file_read(path, KEY_FILE_MAX, &text, &len);
    if (e == ERR_NOT_FOUND)
        return key_make(path, ret_key, outcome);
    if (e != ERR_OK)
        return outcome_fail(outcome, e == ERR_IO ? "io_error" : "identity_invalid", "cannot read the key %s: %s", path,
                            err_name(e));
    BIO *bio = BIO_new_mem_buf(text, (int)len);
    EVP_PKEY *key = bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    BIO_free(bio);
    explicit_bzero(text, len);
    free(text);
    if (key == NULL)
        return outcome_fail(outcome, "identity_invalid", "%s is not a private key; remove it to get a new identity",
                            path);
    *ret_key = key;
    return true;
}

static bool request_fill(X509_REQ *request, EVP_PKEY *key, const char *name)
{
    X509_NAME *subject = X509_REQ_get_subject_name(request);
    return X509_REQ_set_version(request, X509_REQ_VERSION_1) == 1 &&
           X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0) == 1 &&
           X509_REQ_set_pubkey(request, key) == 1 && X509_REQ_sign(request, key, EVP_sha256()) > 0;
}

bool key_request(EVP_PKEY *key, const char *name, char **ret_pem, struct outcome *outcome)
{
    X509_REQ *request = X509_REQ_new();
    BIO *bio = BIO_new(BIO_s_mem());
    char *pem = NULL;
    if (request != NULL && bio != NULL && request_fill(request, key, name) && PEM_write_bio_X509_REQ(bio, request) == 1)
        pem = bio_text(bio);
    X509_REQ_free(request);
    BIO_free(bio);
    if (pem == NULL)
        return outcome_retry(outcome, "internal", "cannot make a certificate request");
    *ret_pem = pem;
    return true;
}

static X509 *certificate_read(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *certificate = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    return certificate;
}

static bool time_read(const ASN1_TIME *time, int64_t *ret_ms)
{
    struct tm tm = {0};
    if (ASN1_TIME_to_tm(time, &tm) != 1)
        return false;
    *ret_ms = (int64_t)timegm(&tm) * 1000;
    return true;
}

bool key_fits(EVP_PKEY *key, const char *pem, int64_t *ret_not_before, int64_t *ret_not_after)
{
    X509 *certificate = certificate_read(pem);
    bool fits = certificate != NULL && X509_check_private_key(certificate, key) == 1 &&
                time_read(X509_get0_notBefore(certificate), ret_not_before) &&
                time_read(X509_get0_notAfter(certificate), ret_not_after);
    X509_free(certificate);
    return fits;
}

bool pem_is_certificate(const char *pem)
{
    X509 *certificate = certificate_read(pem);
    X509_free(certificate);
    return certificate != NULL;
}
