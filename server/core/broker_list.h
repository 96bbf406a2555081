#pragma once
/* The brokers that devices are told, as they are written in settings and as the API gives them. Pure. */

#include "common/base/err.h"

#include <jansson.h>

/* "a:8883,[::1]:8884" -> [{"host": "a", "port": 8883}, ...], 1 to 16 of them. json_decref() it. ERR_INVALID names what
 * is wrong. */
[[nodiscard]] enum err broker_list_parse(const char *text, json_t **ret_list, struct err_info *info);
