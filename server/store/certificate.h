#pragma once
/* Certificates that were issued to devices. */

#include "server/core/device_id.h"
#include "server/db/db.h"
#include "server/pki/pki.h"

/* The device that may use the certificate with this fingerprint (lower-case hex of SHA-256): it was issued here, is not
 * revoked, and the device is not retired. ERR_UNAUTHENTICATED code `certificate_unknown`, `certificate_revoked` or
 * `device_retired`. */
[[nodiscard]] enum err certificate_find_device(struct db *db, const char *fingerprint,
                                               char ret_device_id[DEVICE_ID_SIZE], struct err_info *info);

/* Inside the caller's transaction. */
[[nodiscard]] enum err certificate_add(struct db *db, const char *device_id, const struct certificate *certificate,
                                       struct err_info *info);
