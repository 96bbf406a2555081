#pragma once
/* Certificates and private keys as PEM files. All block on the disk; any thread. Only server/pki includes this. Errors
 * name the file and say what to do. */

#include "common/base/err.h"

#include <openssl/x509.h>

/* The first certificate in the file. X509_free() it. ERR_NOT_FOUND, ERR_INVALID. */
[[nodiscard]] enum err pem_certificate_read(const char *path, X509 **ret_certificate, struct err_info *info);

/* An unencrypted private key. Refuses a file that everybody may read. EVP_PKEY_free() it. ERR_NOT_FOUND, ERR_INVALID.
 */
[[nodiscard]] enum err pem_key_read(const char *path, EVP_PKEY **ret_key, struct err_info *info);

/* Mode 0644; in one step. */
[[nodiscard]] enum err pem_certificate_write(const char *path, const X509 *certificate, struct err_info *info);

/* PKCS #8, mode 0600; in one step. */
[[nodiscard]] enum err pem_key_write(const char *path, const EVP_PKEY *key, struct err_info *info);

/* PEM text; free() it. */
[[nodiscard]] enum err pem_certificate_text(const X509 *certificate, char **ret_text, struct err_info *info);

/* Gives OpenSSL's PEM readers no password, instead of asking the terminal for one. */
int pem_no_password(char *out, int size, int writing, void *arg);
