#pragma once
/* Errors as application/problem+json (RFC 9457): the one table from enum err to HTTP. Pure. */

#include "common/base/err.h"

#include <stdbool.h>

/* HTTP status of an error; 500 for what is out of range. */
unsigned problem_status(enum err e, const struct err_info *info);

/* The text of this error is for the log only: it may tell of the inside of the server. */
bool problem_is_private(enum err e, const struct err_info *info);

/* Writes the document; free() it. NULL without memory. */
[[nodiscard]] char *problem_print(enum err e, const struct err_info *info, const char *request_id);
