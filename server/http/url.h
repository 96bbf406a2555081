#pragma once
/* Request targets, from the raw bytes of the request line. Pure. */

#include "common/base/err.h"

#include <stddef.h>

enum { URL_MAX = 8192, URL_SEGMENTS_MAX = 12, URL_PAIRS_MAX = 32 };

/* The path, split at '/' and then decoded segment by segment. */
struct url_path {
    char *text; /* owned */
    size_t count;
    const char *segments[URL_SEGMENTS_MAX];
};

/* raw: what stands before '?'. ERR_INVALID code `bad_path`: not absolute, an empty segment (but for "/" alone), "." or
 * "..", %00, %2F, a broken escape, a control character, not UTF-8. ERR_NOT_FOUND: more segments than any route has. */
[[nodiscard]] enum err url_path_parse(const char *raw, size_t len, struct url_path *ret_path, struct err_info *info);
void url_path_clear(struct url_path *path);

/* The parameters, decoded. */
struct url_query {
    char *text; /* owned */
    size_t count;
    struct {
        const char *name, *value;
    } pairs[URL_PAIRS_MAX];
};

/* raw: what stands after '?'; may be empty. ERR_INVALID code `bad_query`: as above, a name twice, or too many. */
[[nodiscard]] enum err url_query_parse(const char *raw, struct url_query *ret_query, struct err_info *info);
void url_query_clear(struct url_query *query);

/* NULL when absent. Borrowed. */
const char *url_query_get(const struct url_query *query, const char *name);
