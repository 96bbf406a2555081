#pragma once
/* HTTPS to musterd, by libcurl: one connection, used again. Blocks; one thread. */

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct https;

struct request {
    const char *method;
    const char *path;      /* "/api/v1/…", already percent-encoded */
    const char *json;      /* body, or NULL */
    const char *header;    /* one more header, or NULL */
    int upload_fd;         /* raw body of upload_size bytes from upload_offset on, when upload_size > 0 */
    int64_t upload_offset; /* read with pread: the position of the fd does not matter */
    int64_t upload_size;
    bool download; /* the body of a 2xx answer goes to download_fd, and is not in the answer */
    int download_fd;
    void (*progress)(int64_t done, int64_t total); /* a few times a second while bytes move; may be NULL */
    int64_t progress_from;                         /* what was done before this request */
    int64_t progress_total;
};

struct answer {
    long status;
    char *text; /* owned, NUL-terminated; "" when there is no body */
    size_t len;
};

/* server: "https://host[:port]"; ca: PEM file or "" for the system's. https_free() it. */
[[nodiscard]] enum err https_new(const char *server, const char *ca, struct https **ret_https, struct err_info *info);
struct https *https_free(struct https *h);

/* The API token of later requests; it is copied. */
[[nodiscard]] enum err https_token_set(struct https *h, const char *token, struct err_info *info);

/* Any HTTP status is ERR_OK; answer_free() it. ERR_UNAVAILABLE, ERR_TIMEOUT, ERR_UNTRUSTED (certificate) and others say
 * in info what is wrong and what to do. Cookies are kept, so that a login holds for later requests. */
[[nodiscard]] enum err https_send(struct https *h, const struct request *request, struct answer *ret_answer,
                                  struct err_info *info);

void answer_free(struct answer *a);
#define cleanup_answer [[gnu::cleanup(answer_free)]]
