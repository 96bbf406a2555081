#pragma once
/* Who the device is: what its enrolment has brought. One file, identity/enrolment.json, written atomically, is the
 * truth; the PEM files beside it are copies for libraries that want a path. Paths are below the state directory. */

#include "common/base/err.h"
#include "common/base/json.h"

#include <stddef.h>
#include <stdint.h>

#define IDENTITY_CERTIFICATE "identity/device.pem"
#define IDENTITY_CA "identity/ca.pem" /* of the brokers */

enum { IDENTITY_DEVICE_SIZE = 27, IDENTITY_BROKERS_MAX = 32, IDENTITY_HOST_SIZE = 254, IDENTITY_KEY_SIZE = 32 };

struct identity {
    char device[IDENTITY_DEVICE_SIZE];
    char key[IDENTITY_KEY_SIZE];   /* path of the private key that fits the certificate */
    int64_t not_before, not_after; /* of the certificate, Unix ms */
    size_t broker_count;
    struct identity_broker {
        char host[IDENTITY_HOST_SIZE];
        int port;
    } brokers[IDENTITY_BROKERS_MAX];
};

/* Reads the enrolment and brings the PEM files up to date. ERR_NOT_FOUND: not enrolled yet. */
[[nodiscard]] enum err identity_load(struct identity *ret_identity, struct err_info *info);

/* Stores an answer of muster-fetch for the given key; identity_load() it then. */
[[nodiscard]] enum err identity_store(const json_t *enrolment, const char *key, struct err_info *info);

/* Path of the key to enrol with, or to renew to: never the one in use. identity may be NULL: not enrolled. */
const char *identity_next_key(const struct identity *identity);
