#pragma once
/* The device's private key and its certificate request. */

#include "agent/fetch/outcome.h"

#include <openssl/evp.h>
#include <stdint.h>

/* Loads the P-256 key from the PEM file, or makes one and stores it (mode 0600) before it is used for anything.
 * EVP_PKEY_free() it. False: outcome says why. */
bool key_load_or_make(const char *path, EVP_PKEY **ret_key, struct outcome *outcome);

/* A PEM certificate request for the key; the server ignores its subject. free() it. */
bool key_request(EVP_PKEY *key, const char *name, char **ret_pem, struct outcome *outcome);

/* pem holds a certificate for this key: its times, Unix ms. */
bool key_fits(EVP_PKEY *key, const char *pem, int64_t *ret_not_before, int64_t *ret_not_after);

/* pem holds at least one certificate. */
bool pem_is_certificate(const char *pem);
