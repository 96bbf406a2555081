#include "server/http/peer.h"

#include "common/base/text.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <microhttpd.h>
#include <stdbool.h>

static enum err peer_refuse(struct err_info *info, const char *code, const char *why)
{
    return err_code(info, ERR_UNAUTHENTICATED, code, "%s", why);
}

/* A call that went well (rc == 0) says nothing yet: the status has to be zero, too. */
static enum err chain_check(gnutls_session_t session, struct err_info *info)
{
    gnutls_typed_vdata_st purpose = {
        .type = GNUTLS_DT_KEY_PURPOSE_OID,
        .data = (unsigned char *)GNUTLS_KP_TLS_WWW_CLIENT,
    };
    unsigned status = 0;
    int rc = gnutls_certificate_verify_peers(session, &purpose, 1, &status);
    if (rc == 0 && status == 0)
        return ERR_OK;
    gnutls_datum_t why = {0};
    if (rc != 0 || gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &why, 0) != 0)
        return peer_refuse(info, "certificate_invalid", "the client certificate cannot be verified");
    enum err e = peer_refuse(info, "certificate_invalid", (const char *)why.data);
    gnutls_free(why.data);
    return e;
}

/* The one common name. A second one is refused: others might take that for the name. */
static bool common_name_read(const gnutls_datum_t *der, char ret_name[DEVICE_ID_SIZE])
{
    gnutls_x509_crt_t certificate = NULL;
    if (gnutls_x509_crt_init(&certificate) != 0)
        return false;
    char name[DEVICE_ID_SIZE];
    size_t size = sizeof name;
    size_t second = 0;
    bool ok = gnutls_x509_crt_import(certificate, der, GNUTLS_X509_FMT_DER) == 0 &&
              gnutls_x509_crt_get_dn_by_oid(certificate, GNUTLS_OID_X520_COMMON_NAME, 0, 0, name, &size) == 0 &&
              gnutls_x509_crt_get_dn_by_oid(certificate, GNUTLS_OID_X520_COMMON_NAME, 1, 0, NULL, &second) ==
                  GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE &&
              device_id_ok(name);
    gnutls_x509_crt_deinit(certificate);
    return ok && text_copy(ret_name, DEVICE_ID_SIZE, name);
}

enum err peer_identify(struct MHD_Connection *connection, struct peer_identity *ret_peer, struct err_info *info)
{
    const union MHD_ConnectionInfo *tls = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    unsigned count = 0;
    const gnutls_datum_t *chain =
        tls == NULL ? NULL : gnutls_certificate_get_peers((gnutls_session_t)tls->tls_session, &count);
    if (chain == NULL || count == 0) {
        enum err e = peer_refuse(info, "certificate_required", "this needs a device's client certificate");
        err_next(info, "enrol the device first: POST /device/v1/enrol");
        return e;
    }
    enum err e = chain_check((gnutls_session_t)tls->tls_session, info);
    if (e != ERR_OK)
        return e;
    struct peer_identity peer;
    if (!common_name_read(&chain[0], peer.device_id))
        return peer_refuse(info, "certificate_invalid", "the client certificate does not name a device");
    e = sha256_hex(chain[0].data, chain[0].size, peer.fingerprint);
    if (e == ERR_OK)
        *ret_peer = peer;
    return e;
}
