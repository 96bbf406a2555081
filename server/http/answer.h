#pragma once
/* What is sent back: a libmicrohttpd response with its status. Any thread may make one; one owner. */

#include "common/base/err.h"

#include <stddef.h>
#include <stdint.h>

struct MHD_Connection;
struct MHD_Response;

struct answer {
    struct MHD_Response *response; /* NULL: none */
    unsigned status;
    int64_t size; /* bytes of the body; -1: endless */
};

void answer_clear(struct answer *a);
#define cleanup_answer [[gnu::cleanup(answer_clear)]]

/* len bytes, taken (free()d later; also on failure). content_type NULL: none, for an empty body. */
[[nodiscard]] enum err answer_bytes(unsigned status, char *bytes, size_t len, const char *content_type,
                                    struct answer *ret_answer);

[[nodiscard]] enum err answer_problem(enum err error, const struct err_info *info, const char *request_id,
                                      struct answer *ret_answer);

/* A body of which a part may be asked for. */
struct answer_body {
    enum err (*make)(void *arg, int64_t first, int64_t last, struct MHD_Response **ret_response); /* of these bytes */
    void *arg;
    int64_t size;
    const char *content_type;
    const char *etag; /* without quotes */
};

/* What the request asks of it: 200, 206 or 304, with Range, If-Range and If-None-Match. ERR_INVALID code
 * `range_not_satisfiable`. */
[[nodiscard]] enum err answer_body(struct MHD_Connection *request, const struct answer_body *body,
                                   struct answer *ret_answer, struct err_info *info);

/* What the request asks of a file: 200, 206 or 304; fd is taken, also on failure. etag without quotes. ERR_INVALID code
 * `range_not_satisfiable`. */
[[nodiscard]] enum err answer_file(struct MHD_Connection *request, int fd, int64_t size, const char *content_type,
                                   const char *etag, struct answer *ret_answer, struct err_info *info);

/* Adds a header; one that cannot be a header is ERR_INVALID. */
[[nodiscard]] enum err answer_header(const struct answer *a, const char *name, const char *value);

/* Headers that forbid a browser everything the console does not do. */
[[nodiscard]] enum err answer_harden(const struct answer *a);
