#include "server/pki/pem.h"

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "server/pki/x509.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>
#include <sys/stat.h>

enum { PEM_FILE_MAX = 64 * 1024 };

/* NOLINTNEXTLINE(readability-non-const-parameter): the type that OpenSSL wants */
int pem_no_password(char *out, int size, int writing, void *arg)
{
    (void)out;
    (void)size;
    (void)writing;
    (void)arg;
    return -1;
}

static enum err pem_read(const char *path, char **ret_text, size_t *ret_len, struct err_info *info)
{
    enum err e = file_read(path, PEM_FILE_MAX, ret_text, ret_len);
    if (e == ERR_OK)
        return ERR_OK;
    e = err_set(info, e, "%s cannot be read: %s", path, err_name(e));
    if (e == ERR_NOT_FOUND)
        err_next(info, "make it with `musterd pki init --host NAME`, or set pki_dir");
    return e;
}

enum err pem_certificate_read(const char *path, X509 **ret_certificate, struct err_info *info)
{
    cleanup_free char *text = NULL;
    size_t len = 0;
    enum err e = pem_read(path, &text, &len, info);
    if (e != ERR_OK)
        return e;
    cleanup_bio BIO *bio = BIO_new_mem_buf(text, (int)len);
    if (bio == NULL)
        return ERR_NO_MEMORY;
    X509 *certificate = PEM_read_bio_X509(bio, NULL, pem_no_password, NULL);
    if (certificate == NULL) {
        ERR_clear_error();
        return err_set(info, ERR_INVALID, "%s is not a PEM certificate", path);
    }
    *ret_certificate = certificate;
    return ERR_OK;
}

enum err pem_key_read(const char *path, EVP_PKEY **ret_key, struct err_info *info)
{
    struct stat st;
    if (stat(path, &st) == 0 && (st.st_mode & S_IRWXO) != 0) {
        enum err bad = err_set(info, ERR_INVALID, "%s is a private key that everybody on this machine may use", path);
        err_next(info, "chmod 600 %s", path);
        return bad;
    }
    cleanup_free char *text = NULL;
    size_t len = 0;
    enum err e = pem_read(path, &text, &len, info);
    if (e != ERR_OK)
        return e;
    cleanup_bio BIO *bio = BIO_new_mem_buf(text, (int)len);
    EVP_PKEY *key = bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, pem_no_password, NULL);
    OPENSSL_cleanse(text, len);
    if (key == NULL) {
        ERR_clear_error();
        return err_set(info, ERR_INVALID, "%s is not an unencrypted PEM private key", path);
    }
    *ret_key = key;
    return ERR_OK;
}

static enum err certificate_print(BIO *bio, const X509 *certificate, struct err_info *info)
{
    if (bio == NULL || PEM_write_bio_X509(bio, certificate) != 1)
        return x509_fail(info, "a certificate cannot be written as PEM");
    return ERR_OK;
}

enum err pem_certificate_text(const X509 *certificate, char **ret_text, struct err_info *info)
{
    cleanup_bio BIO *bio = BIO_new(BIO_s_mem());
    enum err e = certificate_print(bio, certificate, info);
    if (e != ERR_OK)
        return e;
    const char *data = NULL;
    long len = BIO_get_mem_data(bio, &data);
    char *text = strndup(data, (size_t)len);
    if (text == NULL)
        return ERR_NO_MEMORY;
    *ret_text = text;
    return ERR_OK;
}

/* The file becomes what was printed into bio. */
static enum err pem_write(const char *path, BIO *bio, mode_t mode, struct err_info *info)
{
    const char *data = NULL;
    long len = BIO_get_mem_data(bio, &data);
    enum err e = file_write(path, data, (size_t)len, mode);
    return e == ERR_OK ? ERR_OK : err_set(info, e, "%s cannot be written: %s", path, err_name(e));
}

enum err pem_certificate_write(const char *path, const X509 *certificate, struct err_info *info)
{
    cleanup_bio BIO *bio = BIO_new(BIO_s_mem());
    enum err e = certificate_print(bio, certificate, info);
    return e == ERR_OK ? pem_write(path, bio, 0644, info) : e;
}

enum err pem_key_write(const char *path, const EVP_PKEY *key, struct err_info *info)
{
    cleanup_bio BIO *bio = BIO_new(BIO_s_secmem());
    if (bio == NULL || PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1)
        return x509_fail(info, "a private key cannot be written as PEM");
    return pem_write(path, bio, 0600, info);
}
