#include "server/pki/x509.h"

#include "common/base/text.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <time.h>

enum { BACKDATE_S = 300 };

struct profile {
    const char *common_name;
    const char *basic_constraints; /* extensions in OpenSSL's words */
    const char *key_usage;
    const char *extended_key_usage; /* NULL: none */
    const char *alt_names;          /* NULL: none */
    int64_t not_before_s;
    int64_t not_after_s;
};

enum err x509_fail(struct err_info *info, const char *what)
{
    unsigned long code = ERR_get_error();
    const char *reason = code == 0 ? NULL : ERR_reason_error_string(code);
    ERR_clear_error();
    return err_set(info, ERR_INTERNAL, "%s: %s", what, reason == NULL ? "OpenSSL gives no reason" : reason);
}

static bool serial_set(X509 *certificate)
{
    uint8_t bits[16];
    if (random_bytes(bits, sizeof bits) != ERR_OK)
        return false;
    bits[0] = (bits[0] & 0x7f) | 0x40; /* positive, and always 16 bytes */
    BIGNUM *number = BN_bin2bn(bits, sizeof bits, NULL);
    bool ok = number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
    BN_free(number);
    return ok;
}

static bool names_set(X509 *certificate, X509 *issuer, const char *common_name)
{
    X509_NAME *subject = X509_get_subject_name(certificate);
    return X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8, (const unsigned char *)common_name, -1,
                                      -1, 0) == 1 &&
           X509_set_issuer_name(certificate, issuer == NULL ? subject : X509_get_subject_name(issuer)) == 1;
}

static bool extension_add(X509 *certificate, X509V3_CTX *context, int nid, const char *value)
{
    if (value == NULL)
        return true;
    X509_EXTENSION *extension = X509V3_EXT_nconf_nid(NULL, context, nid, value);
    bool ok = extension != NULL && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return ok;
}

static bool extensions_set(X509 *certificate, X509 *issuer, const struct profile *profile)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer == NULL ? certificate : issuer, certificate, NULL, NULL, 0);
    return extension_add(certificate, &context, NID_basic_constraints, profile->basic_constraints) &&
           extension_add(certificate, &context, NID_key_usage, profile->key_usage) &&
           extension_add(certificate, &context, NID_ext_key_usage, profile->extended_key_usage) &&
           extension_add(certificate, &context, NID_subject_alt_name, profile->alt_names) &&
           extension_add(certificate, &context, NID_subject_key_identifier, "hash") &&
           extension_add(certificate, &context, NID_authority_key_identifier, "keyid:always");
}

static enum err certificate_make(const struct profile *profile, EVP_PKEY *subject_key, X509 *issuer,
                                 EVP_PKEY *issuer_key, X509 **ret_certificate, struct err_info *info)
{
    cleanup_x509 X509 *certificate = X509_new();
    if (certificate == NULL)
        return ERR_NO_MEMORY;
    bool ok = X509_set_version(certificate, X509_VERSION_3) == 1 && serial_set(certificate) &&
              names_set(certificate, issuer, profile->common_name) &&
              ASN1_TIME_set(X509_getm_notBefore(certificate), profile->not_before_s) != NULL &&
              ASN1_TIME_set(X509_getm_notAfter(certificate), profile->not_after_s) != NULL &&
              X509_set_pubkey(certificate, subject_key) == 1 && extensions_set(certificate, issuer, profile) &&
              X509_sign(certificate, issuer_key, EVP_sha256()) > 0;
    if (!ok)
        return x509_fail(info, "a certificate cannot be made");
    *ret_certificate = certificate;
    certificate = NULL;
    return ERR_OK;
}

enum err x509_issue_leaf(const struct x509_leaf *leaf, EVP_PKEY *key, X509 *ca, EVP_PKEY *ca_key,
                         X509 **ret_certificate, struct err_info *info)
{
    int64_t ends_s = leaf->now_s + leaf->days * X509_DAY_S;
    int64_t ca_ends_s = x509_not_after_s(ca);
    const struct profile profile = {
        .common_name = leaf->common_name,
        .basic_constraints = "critical,CA:FALSE",
        .key_usage = "critical,digitalSignature",
        .extended_key_usage = leaf->extended_key_usage,
        .alt_names = leaf->alt_names,
        .not_before_s = leaf->now_s - BACKDATE_S,
        .not_after_s = ends_s < ca_ends_s ? ends_s : ca_ends_s,
    };
    return certificate_make(&profile, key, ca, ca_key, ret_certificate, info);
}

enum err x509_issue_ca(const char *common_name, EVP_PKEY *key, int64_t now_s, int64_t days, X509 **ret_certificate,
                       struct err_info *info)
{
    const struct profile profile = {
        .common_name = common_name,
        .basic_constraints = "critical,CA:TRUE,pathlen:0",
        .key_usage = "critical,keyCertSign,cRLSign",
        .not_before_s = now_s - BACKDATE_S,
        .not_after_s = now_s + days * X509_DAY_S,
    };
    return certificate_make(&profile, key, NULL, key, ret_certificate, info);
}

int64_t x509_not_after_s(const X509 *certificate)
{
    struct tm tm;
    return ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

enum err x509_fingerprint(const X509 *certificate, char ret_hex[SHA256_HEX])
{
    uint8_t digest[SHA256_SIZE];
    if (X509_digest(certificate, EVP_sha256(), digest, NULL) != 1)
        return ERR_INTERNAL;
    text_hex(digest, sizeof digest, ret_hex);
    return ERR_OK;
}

enum err x509_public_key_hash(const X509_PUBKEY *key, char ret_hex[SHA256_HEX])
{
    unsigned char *der = NULL;
    int len = i2d_X509_PUBKEY(key, &der);
    if (len <= 0)
        return ERR_INTERNAL;
    enum err e = sha256_hex(der, (size_t)len, ret_hex);
    OPENSSL_free(der);
    return e;
}
