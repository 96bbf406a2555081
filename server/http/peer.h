#pragma once
/* Who is at the other end of a device port connection, by its client certificate. libmicrohttpd only asks for one: what
 * it got is judged here. No database: that is certificate_find_device() (server/store/certificate.h), which the worker
 * asks next and which has the last word. */

#include "common/base/crypt.h"
#include "common/base/err.h"
#include "server/core/device_id.h"

struct MHD_Connection;

struct peer_identity {
    char fingerprint[SHA256_HEX];   /* SHA-256 of the certificate's DER */
    char device_id[DEVICE_ID_SIZE]; /* its common name */
};

/* In the connection's I/O thread; does not block. The chain must verify against the device CA (given to libmicrohttpd
 * as MHD_OPTION_HTTPS_MEM_TRUST), for client use, at this time. ERR_UNAUTHENTICATED code `certificate_required` (none
 * was sent) or `certificate_invalid`. */
[[nodiscard]] enum err peer_identify(struct MHD_Connection *connection, struct peer_identity *ret_peer,
                                     struct err_info *info);
