#include "server/http/answer.h"

#include "common/base/cleanup.h"
#include "server/http/header.h"
#include "server/http/problem.h"

#include <inttypes.h>
#include <microhttpd.h>
#include <stdio.h>
#include <string.h>

void answer_clear(struct answer *a)
{
    if (a->response != NULL)
        MHD_destroy_response(a->response);
    *a = (struct answer){};
}

enum err answer_header(const struct answer *a, const char *name, const char *value)
{
    return MHD_add_response_header(a->response, name, value) == MHD_YES ? ERR_OK : ERR_INVALID;
}

enum err answer_bytes(unsigned status, char *bytes, size_t len, const char *content_type, struct answer *ret_answer)
{
    cleanup_answer struct answer a = {.status = status, .size = (int64_t)len};
    a.response =
        MHD_create_response_from_buffer(len, bytes, bytes == NULL ? MHD_RESPMEM_PERSISTENT : MHD_RESPMEM_MUST_FREE);
    if (a.response == NULL) {
        free(bytes);
        return ERR_NO_MEMORY;
    }
    if (content_type != NULL && answer_header(&a, MHD_HTTP_HEADER_CONTENT_TYPE, content_type) != ERR_OK)
        return ERR_NO_MEMORY;
    *ret_answer = a;
    a.response = NULL;
    return ERR_OK;
}

/* 401 must name a scheme; 429 and 503 say when to come back. */
static enum err problem_headers(const struct answer *a, const struct err_info *info)
{
    char seconds[16];
    (void)snprintf(seconds, sizeof seconds, "%d", info->retry_after_s > 0 ? info->retry_after_s : 1);
    if (a->status == MHD_HTTP_UNAUTHORIZED)
        return answer_header(a, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer realm=\"muster\"");
    if (a->status == MHD_HTTP_TOO_MANY_REQUESTS || a->status == MHD_HTTP_SERVICE_UNAVAILABLE)
        return answer_header(a, MHD_HTTP_HEADER_RETRY_AFTER, seconds);
    return ERR_OK;
}

enum err answer_problem(enum err error, const struct err_info *info, const char *request_id, struct answer *ret_answer)
{
    char *text = problem_print(error, info, request_id);
    if (text == NULL)
        return ERR_NO_MEMORY;
    cleanup_answer struct answer a = {};
    enum err e = answer_bytes(problem_status(error, info), text, strlen(text), "application/problem+json", &a);
    if (e == ERR_OK)
        e = problem_headers(&a, info);
    if (e != ERR_OK)
        return e;
    *ret_answer = a;
    a.response = NULL;
    return ERR_OK;
}

static const char *request_header(struct MHD_Connection *request, const char *name)
{
    return MHD_lookup_connection_value(request, MHD_HEADER_KIND, name);
}

/* The body or the part of it that is asked for, without headers. */
static enum err body_choose(struct MHD_Connection *request, const struct answer_body *body, char range[80],
                            struct answer *ret_answer, struct err_info *info)
{
    int64_t first = 0;
    int64_t last = body->size - 1;
    struct answer a = {.status = MHD_HTTP_OK};
    if (header_names_etag(request_header(request, MHD_HTTP_HEADER_IF_NONE_MATCH), body->etag))
        return answer_bytes(MHD_HTTP_NOT_MODIFIED, NULL, 0, NULL, ret_answer);
    const char *wanted = request_header(request, MHD_HTTP_HEADER_RANGE);
    if (!header_if_range(request_header(request, MHD_HTTP_HEADER_IF_RANGE), body->etag))
        wanted = NULL;
    switch (header_range(wanted, body->size, &first, &last)) {
    case RANGE_UNSATISFIABLE:
        return err_code(info, ERR_INVALID, "range_not_satisfiable",
                        "the range \"%.60s\" is outside of the %" PRId64 " bytes there are", wanted, body->size);
    case RANGE_PART:
        (void)snprintf(range, 80, "bytes %" PRId64 "-%" PRId64 "/%" PRId64, first, last, body->size);
        a.status = MHD_HTTP_PARTIAL_CONTENT;
        break;
    case RANGE_ALL:
        break;
    }
    a.size = last - first + 1;
    enum err e = body->make(body->arg, first, last, &a.response);
    if (e == ERR_OK)
        *ret_answer = a;
    return e;
}

enum err answer_body(struct MHD_Connection *request, const struct answer_body *body, struct answer *ret_answer,
                     struct err_info *info)
{
    char range[80] = "";
    char quoted[96];
    (void)snprintf(quoted, sizeof quoted, "\"%s\"", body->etag);
    cleanup_answer struct answer a = {};
    enum err e = body_choose(request, body, range, &a, info);
    if (e == ERR_OK)
        e = answer_header(&a, MHD_HTTP_HEADER_ETAG, quoted);
    if (e == ERR_OK && a.status != MHD_HTTP_NOT_MODIFIED)
        e = answer_header(&a, MHD_HTTP_HEADER_CONTENT_TYPE, body->content_type);
    if (e == ERR_OK)
        e = answer_header(&a, MHD_HTTP_HEADER_ACCEPT_RANGES, "bytes");
    if (e == ERR_OK && range[0] != '\0')
        e = answer_header(&a, MHD_HTTP_HEADER_CONTENT_RANGE, range);
    if (e != ERR_OK)
        return e;
    *ret_answer = a;
    a.response = NULL;
    return ERR_OK;
}

/* The response takes the fd. */
static enum err file_make(void *arg, int64_t first, int64_t last, struct MHD_Response **ret_response)
{
    int *fd = arg;
    *ret_response = MHD_create_response_from_fd_at_offset64((uint64_t)(last - first + 1), *fd, (uint64_t)first);
    if (*ret_response == NULL)
        return ERR_NO_MEMORY;
    *fd = -1;
    return ERR_OK;
}

enum err answer_file(struct MHD_Connection *request, int fd, int64_t size, const char *content_type, const char *etag,
                     struct answer *ret_answer, struct err_info *info)
{
    cleanup_fd int file = fd;
    const struct answer_body body = {
        .make = file_make, .arg = &file, .size = size, .content_type = content_type, .etag = etag};
    return answer_body(request, &body, ret_answer, info);
}

enum err answer_harden(const struct answer *a)
{
    static const struct {
        const char *name, *value;
    } headers[] = {
        {"Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
                                    "font-src 'self'; connect-src 'self'; worker-src 'self'; base-uri 'none'; "
                                    "form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
                                    "trusted-types svelte-trusted-html muster-worker"},
        {"X-Content-Type-Options", "nosniff"},
        {"Referrer-Policy", "no-referrer"},
        {"Cross-Origin-Opener-Policy", "same-origin"},
        {"Cross-Origin-Resource-Policy", "same-origin"},
        {"Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"},
        {"Strict-Transport-Security", "max-age=31536000"},
    };
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++)
        if (answer_header(a, headers[i].name, headers[i].value) != ERR_OK)
            return ERR_NO_MEMORY;
    return ERR_OK;
}
