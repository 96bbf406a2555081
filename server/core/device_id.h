#pragma once
/* A device's id: 16 random bytes in base32, given by the server at enrolment. It is the common name of the device's
 * certificate, its MQTT user name and client id, and its key in every table. */

#include "common/base/err.h"

#include <stdbool.h>

enum { DEVICE_ID_SIZE = 27 }; /* 26 characters of [a-z2-7] and a NUL */

[[nodiscard]] enum err device_id_new(char ret_id[DEVICE_ID_SIZE]);

/* s has the form of a device id. NULL has not. */
bool device_id_ok(const char *s);
