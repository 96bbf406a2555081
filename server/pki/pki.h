#pragma once
/* The device CA at work: certificates for enrolled devices. Loaded once; immutable, any thread may sign. */

#include "common/base/crypt.h"
#include "common/base/err.h"
#include "server/pki/csr.h"

#include <stdint.h>

enum { DEVICE_CERTIFICATE_DAYS = 90 };

struct pki;

/* Reads the device CA (certificate and key) and the server CA (certificate) from the folder that `musterd pki init`
 * made. Refuses a key that does not belong to its certificate, that everybody may read, or a CA that has ended. Errors
 * name the file and what to do. */
[[nodiscard]] enum err pki_load(const char *dir, struct pki **ret_pki, struct err_info *info);
void pki_free(struct pki *pki);

/* PEM of the CA of servers and brokers: what devices pin. Borrowed. */
const char *pki_server_ca_pem(const struct pki *pki);

/* The name of the servers' shared subscription at the broker. It is a secret, derived from the device CA's key, so that
 * all servers of an installation know it and no device does: Mosquitto does not check subscriptions against its ACL,
 * and a device that joined the share would take messages away from the servers. 32 hex digits. Borrowed. */
const char *pki_share_name(const struct pki *pki);

struct certificate {
    char *pem;                    /* owned: certificate_clear() */
    char fingerprint[SHA256_HEX]; /* SHA-256 of the DER */
    char public_key[SHA256_HEX];  /* SHA-256 of the SubjectPublicKeyInfo */
    int64_t not_after_ms;         /* Unix ms */
};
void certificate_clear(struct certificate *c);
#define cleanup_certificate [[gnu::cleanup(certificate_clear)]]

/* A client certificate for the request's key: one CN = device_id, clientAuth only, from five minutes ago (clocks of
 * devices differ) to DEVICE_CERTIFICATE_DAYS from now, never past the CA's own end. device_id must be device_id_ok().
 * About 0.1 ms. */
[[nodiscard]] enum err pki_sign_device(const struct pki *pki, const struct csr *csr, const char *device_id,
                                       struct certificate *ret_certificate, struct err_info *info);
