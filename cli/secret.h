#pragma once
/* A new token's secret, shown once. */

#include "common/base/json.h"

/* The secret alone on stdout, for scripts; what it is on stderr. */
void secret_print(const json_t *json);

/* The answer to a revocation, which is empty. */
void secret_revoked_print(const json_t *json);
