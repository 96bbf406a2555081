#pragma once
/* What the tests about certificates share: a PKI folder, keys, and requests made with them. */

#include "common/base/file.h"
#include "server/pki/init.h"
#include "server/pki/pem.h"
#include "server/pki/pki.h"
#include "server/pki/x509.h"
#include "tests/unit/unit.h"

#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pki_kit {
    char dir[64]; /* made by pki_init for localhost and 127.0.0.1 */
    struct pki *pki;
};

static inline void pki_kit_start(struct pki_kit *kit)
{
    struct err_info info = {0};
    char *said = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&said, &len);
    *kit = (struct pki_kit){.dir = "/tmp/muster-pki-XXXXXX"};
    assert_non_null(out);
    assert_non_null(mkdtemp(kit->dir));
    assert_int_equal(pki_init(kit->dir, "localhost,127.0.0.1", out, &info), ERR_OK);
    assert_int_equal(pki_load(kit->dir, &kit->pki, &info), ERR_OK);
    assert_int_equal(fclose(out), 0);
    free(said);
}

static inline void pki_kit_end(struct pki_kit *kit)
{
    pki_free(kit->pki);
    assert_int_equal(file_remove_tree(kit->dir), ERR_OK);
}
#define cleanup_pki_kit [[gnu::cleanup(pki_kit_end)]]

/* A certificate request in PEM for key, signed with signer; free() it. */
static inline char *request_pem(EVP_PKEY *key, EVP_PKEY *signer, const char *common_name)
{
    X509_REQ *request = X509_REQ_new();
    assert_non_null(request);
    X509_NAME *name = X509_REQ_get_subject_name(request);
    assert_int_equal(
        X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, (const unsigned char *)common_name, -1, -1, 0),
        1);
    assert_int_equal(X509_REQ_set_pubkey(request, key), 1);
    bool no_digest = EVP_PKEY_get_base_id(signer) == EVP_PKEY_ED25519;
    assert_true(X509_REQ_sign(request, signer, no_digest ? NULL : EVP_sha256()) > 0);
    cleanup_bio BIO *bio = BIO_new(BIO_s_mem());
    char *data = NULL;
    assert_int_equal(PEM_write_bio_X509_REQ(bio, request), 1);
    long len = BIO_get_mem_data(bio, &data);
    char *pem = strndup(data, (size_t)len);
    X509_REQ_free(request);
    assert_non_null(pem);
    return pem;
}

/* Enrols a key: its certificate and key as NAME.pem and NAME.key in the kit's folder, for programs that want files. */
static inline void pki_kit_device(const struct pki_kit *kit, EVP_PKEY *key, const char *id, const char *name,
                                  struct certificate *ret_certificate)
{
    struct err_info info = {0};
    char path[128];
    char *pem = request_pem(key, key, "ignored");
    struct csr *csr = NULL;
    assert_int_equal(csr_parse(pem, strlen(pem), &csr, &info), ERR_OK);
    assert_int_equal(pki_sign_device(kit->pki, csr, id, ret_certificate, &info), ERR_OK);
    (void)snprintf(path, sizeof path, "%s/%s.pem", kit->dir, name);
    assert_int_equal(file_write(path, ret_certificate->pem, strlen(ret_certificate->pem), 0644), ERR_OK);
    (void)snprintf(path, sizeof path, "%s/%s.key", kit->dir, name);
    assert_int_equal(pem_key_write(path, key, &info), ERR_OK);
    csr_free(csr);
    free(pem);
}

/* The certificate in NAME of the kit's folder; X509_free() it. */
static inline X509 *pki_kit_read(const struct pki_kit *kit, const char *name)
{
    char path[128];
    X509 *certificate = NULL;
    (void)snprintf(path, sizeof path, "%s/%s", kit->dir, name);
    assert_int_equal(pem_certificate_read(path, &certificate, NULL), ERR_OK);
    return certificate;
}
