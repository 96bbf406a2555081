#include "server/pki/pki.h"

#include "common/base/clock.h"
#include "common/base/text.h"
#include "server/core/device_id.h"
#include "server/pki/pem.h"
#include "server/pki/x509.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

struct pki {
    X509 *device_ca;
    EVP_PKEY *device_key;
    char *server_ca_pem;
    char share_name[33];
};

static enum err path_in(const char *dir, const char *name, char ret_path[PATH_MAX], struct err_info *info)
{
    int n = snprintf(ret_path, PATH_MAX, "%s/%s", dir, name);
    return n > 0 && n < PATH_MAX ? ERR_OK : err_set(info, ERR_INVALID, "pki_dir is too long a path");
}

/* A CA's certificate that has not ended. */
static enum err ca_read(const char *dir, const char *name, X509 **ret_ca, struct err_info *info)
{
    char path[PATH_MAX];
    enum err e = path_in(dir, name, path, info);
    if (e != ERR_OK)
        return e;
    cleanup_x509 X509 *ca = NULL;
    e = pem_certificate_read(path, &ca, info);
    if (e != ERR_OK)
        return e;
    if (X509_check_ca(ca) != 1)
        return err_set(info, ERR_INVALID, "%s is not the certificate of a CA", path);
    if (x509_not_after_s(ca) <= clock_wall_ms() / 1000)
        return err_set(info, ERR_INVALID, "%s: this CA has ended, nothing it signs is valid", path);
    *ret_ca = ca;
    ca = NULL;
    return ERR_OK;
}

static enum err device_ca_load(struct pki *pki, const char *dir, struct err_info *info)
{
    char path[PATH_MAX];
    enum err e = ca_read(dir, "device-ca.pem", &pki->device_ca, info);
    if (e == ERR_OK)
        e = path_in(dir, "device-ca.key", path, info);
    if (e == ERR_OK)
        e = pem_key_read(path, &pki->device_key, info);
    if (e != ERR_OK)
        return e;
    if (X509_check_private_key(pki->device_ca, pki->device_key) != 1) {
        ERR_clear_error();
        return err_set(info, ERR_INVALID, "%s does not belong to device-ca.pem beside it", path);
    }
    return ERR_OK;
}

/* HMAC of a fixed text, under the CA's key. */
static enum err share_name_derive(struct pki *pki, struct err_info *info)
{
    static const unsigned char purpose[] = "muster: shared subscription";
    unsigned char *der = NULL;
    int len = i2d_PrivateKey(pki->device_key, &der);
    uint8_t mac[SHA256_SIZE];
    size_t mac_len = 0;
    bool ok = len > 0 && EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, der, (size_t)len, purpose, sizeof purpose - 1,
                                   mac, sizeof mac, &mac_len) != NULL;
    OPENSSL_clear_free(der, len > 0 ? (size_t)len : 0);
    if (!ok)
        return x509_fail(info, "a name cannot be derived");
    text_hex(mac, sizeof pki->share_name / 2, pki->share_name);
    return ERR_OK;
}

enum err pki_load(const char *dir, struct pki **ret_pki, struct err_info *info)
{
    struct pki *pki = calloc(1, sizeof *pki);
    if (pki == NULL)
        return ERR_NO_MEMORY;
    cleanup_x509 X509 *server_ca = NULL;
    enum err e = device_ca_load(pki, dir, info);
    if (e == ERR_OK)
        e = share_name_derive(pki, info);
    if (e == ERR_OK)
        e = ca_read(dir, "server-ca.pem", &server_ca, info);
    if (e == ERR_OK)
        e = pem_certificate_text(server_ca, &pki->server_ca_pem, info);
    if (e != ERR_OK) {
        pki_free(pki);
        return e;
    }
    *ret_pki = pki;
    return ERR_OK;
}

void pki_free(struct pki *pki)
{
    if (pki == NULL)
        return;
    X509_free(pki->device_ca);
    EVP_PKEY_free(pki->device_key);
    free(pki->server_ca_pem);
    free(pki);
}

const char *pki_server_ca_pem(const struct pki *pki)
{
    return pki->server_ca_pem;
}

const char *pki_share_name(const struct pki *pki)
{
    return pki->share_name;
}

void certificate_clear(struct certificate *c)
{
    free(c->pem);
    *c = (struct certificate){0};
}

static enum err certificate_describe(const X509 *x509, const struct csr *csr, struct certificate *out,
                                     struct err_info *info)
{
    enum err e = x509_fingerprint(x509, out->fingerprint);
    if (e != ERR_OK)
        return e;
    (void)text_copy(out->public_key, sizeof out->public_key, csr_public_key(csr));
    out->not_after_ms = x509_not_after_s(x509) * 1000;
    return pem_certificate_text(x509, &out->pem, info);
}

enum err pki_sign_device(const struct pki *pki, const struct csr *csr, const char *device_id,
                         struct certificate *ret_certificate, struct err_info *info)
{
    if (!device_id_ok(device_id))
        return err_set(info, ERR_INTERNAL, "a certificate was asked for something that is not a device id");
    const struct x509_leaf leaf = {
        .common_name = device_id,
        .extended_key_usage = "clientAuth",
        .now_s = clock_wall_ms() / 1000,
        .days = DEVICE_CERTIFICATE_DAYS,
    };
    cleanup_x509 X509 *x509 = NULL;
    enum err e = x509_issue_leaf(&leaf, csr_key(csr), pki->device_ca, pki->device_key, &x509, info);
    if (e != ERR_OK)
        return e;
    struct certificate certificate = {0};
    e = certificate_describe(x509, csr, &certificate, info);
    if (e != ERR_OK) {
        certificate_clear(&certificate);
        return e;
    }
    *ret_certificate = certificate;
    return ERR_OK;
}
