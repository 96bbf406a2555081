#include "cli/https.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/text.h"
#include "common/base/version.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    ANSWER_MAX = 64 * 1024 * 1024,
    CONNECT_S = 10,
    REQUEST_S = 60,
    STALL_S = 120, /* an upload that does not move, or a server that checks one */
    PROGRESS_MS = 200,
};

struct https {
    CURL *curl;
    struct curl_slist *token_header; /* NULL: none */
    char server[512];
    char error[CURL_ERROR_SIZE];
};

/* One request on its way. */
struct exchange {
    const struct request *request;
    struct buf body;
    CURL *curl;
    int64_t given; /* bytes of the upload */
    int64_t progress_at_ms;
    int file_errno; /* of a file that cannot be read or written; 0: none */
};

enum err https_new(const char *server, const char *ca, struct https **ret_https, struct err_info *info)
{
    if (!text_starts(server, "https://") || strlen(server) >= sizeof((struct https *)NULL)->server)
        return err_field(info, ERR_INVALID, "server",
                         "server \"%.100s\": an address that begins with https:// is expected", server);
    struct https *h = calloc(1, sizeof *h);
    if (h == NULL)
        return ERR_NO_MEMORY;
    (void)text_copy(h->server, sizeof h->server, server);
    size_t len = strlen(h->server);
    if (h->server[len - 1] == '/')
        h->server[len - 1] = '\0';
    h->curl = curl_easy_init();
    if (h->curl == NULL || curl_easy_setopt(h->curl, CURLOPT_COOKIEFILE, "") != CURLE_OK ||
        curl_easy_setopt(h->curl, CURLOPT_PROTOCOLS_STR, "https") != CURLE_OK ||
        curl_easy_setopt(h->curl, CURLOPT_PATH_AS_IS, 1L) != CURLE_OK || /* a name may be ".." */
        curl_easy_setopt(h->curl, CURLOPT_ERRORBUFFER, h->error) != CURLE_OK ||
        curl_easy_setopt(h->curl, CURLOPT_USERAGENT, "musterctl/" MUSTER_VERSION) != CURLE_OK ||
        (*ca != '\0' && curl_easy_setopt(h->curl, CURLOPT_CAINFO, ca) != CURLE_OK)) {
        (void)https_free(h);
        return ERR_NO_MEMORY;
    }
    *ret_https = h;
    return ERR_OK;
}

struct https *https_free(struct https *h)
{
    if (h == NULL)
        return NULL;
    curl_easy_cleanup(h->curl);
    curl_slist_free_all(h->token_header);
    free(h);
    return NULL;
}

enum err https_token_set(struct https *h, const char *token, struct err_info *info)
{
    char header[1024];
    for (const char *c = token; *c != '\0'; c++)
        if (*c <= ' ' || *c > '~')
            return err_set(info, ERR_INVALID, "the API token has characters that no token has");
    int n = snprintf(header, sizeof header, "Authorization: Bearer %s", token);
    if (n < 0 || (size_t)n >= sizeof header)
        return err_set(info, ERR_INVALID, "the API token is too long");
    curl_slist_free_all(h->token_header);
    h->token_header = curl_slist_append(NULL, header);
    return h->token_header == NULL ? ERR_NO_MEMORY : ERR_OK;
}

/* ---- libcurl's callbacks ---- */

static bool is_for_file(const struct exchange *x)
{
    long status = 0;
    return x->request->download && curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK &&
           status >= 200 && status <= 299;
}

static size_t body_take(char *bytes, size_t size, size_t count, void *user)
{
    struct exchange *x = user;
    size_t len = size * count;
    if (!is_for_file(x))
        return buf_add(&x->body, bytes, len) == ERR_OK ? len : 0;
    for (size_t at = 0; at < len;) {
        ssize_t n = write(x->request->download_fd, bytes + at, len - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            x->file_errno = errno;
            return 0;
        }
        at += (size_t)n;
    }
    return len;
}

static size_t upload_give(char *out, size_t size, size_t count, void *user)
{
    struct exchange *x = user;
    int64_t left = x->request->upload_size - x->given;
    size_t want = left < (int64_t)(size * count) ? (size_t)left : size * count;
    ssize_t n = 0;
    do
        n = pread(x->request->upload_fd, out, want, x->request->upload_offset + x->given);
    while (n < 0 && errno == EINTR);
    if (n >= 0) {
        x->given += n;
        return (size_t)n;
    }
    x->file_errno = errno;
    return CURL_READFUNC_ABORT;
}

static int upload_seek(void *user, curl_off_t offset, int origin)
{
    struct exchange *x = user;
    if (origin != SEEK_SET || offset < 0 || offset > x->request->upload_size)
        return CURL_SEEKFUNC_FAIL;
    x->given = offset;
    return CURL_SEEKFUNC_OK;
}

static int transfer_progress(void *user, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
    struct exchange *x = user;
    const struct request *r = x->request;
    int64_t now = clock_mono_ms();
    (void)down_total;
    (void)up_total;
    if (now - x->progress_at_ms >= PROGRESS_MS) {
        x->progress_at_ms = now;
        r->progress(r->progress_from + (r->download ? down : up), r->progress_total);
    }
    return 0;
}

/* ---- one request ---- */

static CURLcode upload_prepare(CURL *curl, struct exchange *x)
{
    CURLcode rc = curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)x->request->upload_size);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(curl, CURLOPT_READFUNCTION, upload_give);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(curl, CURLOPT_READDATA, x);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, upload_seek);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(curl, CURLOPT_SEEKDATA, x);
    return rc;
}

/* Bytes that move for long: no limit in time as long as they move. */
static CURLcode transfer_prepare(CURL *curl, struct exchange *x)
{
    CURLcode rc = curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)STALL_S);
    if (rc != CURLE_OK || x->request->progress == NULL)
        return rc;
    rc = curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, transfer_progress);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(curl, CURLOPT_XFERINFODATA, x);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    return rc;
}

static CURLcode request_prepare(struct https *h, const char *url, struct curl_slist *headers, struct exchange *x)
{
    const struct request *r = x->request;
    bool upload = r->upload_size > 0;
    CURLcode rc = curl_easy_setopt(h->curl, CURLOPT_URL, url);
    if (rc == CURLE_OK)
        rc = upload || r->download ? transfer_prepare(h->curl, x)
                                   : curl_easy_setopt(h->curl, CURLOPT_TIMEOUT, (long)REQUEST_S);
    if (rc == CURLE_OK && upload)
        rc = upload_prepare(h->curl, x);
    if (rc == CURLE_OK && r->json != NULL)
        rc = curl_easy_setopt(h->curl, CURLOPT_POSTFIELDS, r->json); /* not copied: lives until the request is done */
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(h->curl, CURLOPT_CUSTOMREQUEST, r->method);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(h->curl, CURLOPT_HTTPHEADER, headers);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(h->curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(h->curl, CURLOPT_WRITEFUNCTION, body_take);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(h->curl, CURLOPT_WRITEDATA, x);
    return rc;
}

/* Forgets the last request's method and body; keeps cookies, connection and CA. */
static void request_forget(struct https *h)
{
    (void)curl_easy_setopt(h->curl, CURLOPT_CUSTOMREQUEST, NULL);
    (void)curl_easy_setopt(h->curl, CURLOPT_UPLOAD, 0L);
    (void)curl_easy_setopt(h->curl, CURLOPT_POSTFIELDS, NULL);
    (void)curl_easy_setopt(h->curl, CURLOPT_HTTPGET, 1L);
    (void)curl_easy_setopt(h->curl, CURLOPT_NOPROGRESS, 1L);
    (void)curl_easy_setopt(h->curl, CURLOPT_LOW_SPEED_TIME, 0L);
    (void)curl_easy_setopt(h->curl, CURLOPT_TIMEOUT, 0L);
    (void)curl_easy_setopt(h->curl, CURLOPT_HTTPHEADER, NULL);
}

static enum err transport_error(const struct https *h, CURLcode rc, const struct exchange *x, struct err_info *info)
{
    const char *why = h->error[0] != '\0' ? h->error : curl_easy_strerror(rc);
    enum err e = ERR_UNAVAILABLE;
    if (x->file_errno != 0)
        return err_set(info, err_from_errno(x->file_errno), "cannot %s the file: %s",
                       x->request->download ? "write" : "read", strerror(x->file_errno));
    switch (rc) {
    case CURLE_OUT_OF_MEMORY:
        return ERR_NO_MEMORY;
    case CURLE_URL_MALFORMAT:
        return err_set(info, ERR_INVALID, "server \"%s\" is not an address", h->server);
    case CURLE_SSL_CACERT_BADFILE:
        return err_set(info, ERR_INVALID, "cannot use the CA file: %s", why);
    case CURLE_PEER_FAILED_VERIFICATION:
        e = err_set(info, ERR_UNTRUSTED, "%s is not who it says it is: %s", h->server, why);
        err_next(info, "Give the file with the server's CA by --ca FILE or the setting `ca` (musterd keeps it as "
                       "server-ca.pem in its pki_dir).");
        return e;
    case CURLE_WRITE_ERROR:
        return err_set(info, ERR_TOO_LARGE, "the answer of %s is too large", h->server);
    case CURLE_OPERATION_TIMEDOUT:
        e = err_set(info, ERR_TIMEOUT, "%s does not answer: %s", h->server, why);
        break;
    default:
        e = err_set(info, ERR_UNAVAILABLE, "cannot talk to %s: %s", h->server, why);
        break;
    }
    err_next(info, "Is musterd running, and is the setting `server` right?");
    return e;
}

static enum err answer_take(struct https *h, struct exchange *x, struct answer *ret_answer)
{
    struct answer answer = {.len = x->body.len};
    if (curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &answer.status) != CURLE_OK)
        return ERR_INTERNAL;
    answer.text = x->body.len > 0 ? buf_take(&x->body) : calloc(1, 1);
    if (answer.text == NULL)
        return ERR_NO_MEMORY;
    *ret_answer = answer;
    return ERR_OK;
}

static bool header_add(struct curl_slist **list, const char *header)
{
    struct curl_slist *longer = curl_slist_append(*list, header);
    if (longer != NULL)
        *list = longer;
    return longer != NULL;
}

static struct curl_slist *headers_of(const struct https *h, const struct request *r)
{
    struct curl_slist *list = NULL;
    bool ok = header_add(&list, "Accept: application/json") && header_add(&list, "X-Muster-Csrf: 1");
    if (h->token_header != NULL)
        ok = ok && header_add(&list, h->token_header->data);
    if (r->json != NULL)
        ok = ok && header_add(&list, "Content-Type: application/json");
    if (r->upload_size > 0)
        ok = ok && header_add(&list, "Content-Type: application/octet-stream");
    if (r->header != NULL)
        ok = ok && header_add(&list, r->header);
    if (ok)
        return list;
    curl_slist_free_all(list);
    return NULL;
}

enum err https_send(struct https *h, const struct request *request, struct answer *ret_answer, struct err_info *info)
{
    char url[8192];
    struct exchange x = {.request = request, .curl = h->curl, .body = BUF_INIT(ANSWER_MAX)};
    int n = snprintf(url, sizeof url, "%s%s", h->server, request->path);
    if (n < 0 || (size_t)n >= sizeof url)
        return err_set(info, ERR_TOO_LARGE, "the request's address is too long");
    struct curl_slist *headers = headers_of(h, request);
    if (headers == NULL)
        return ERR_NO_MEMORY;
    h->error[0] = '\0';
    CURLcode rc = request_prepare(h, url, headers, &x);
    if (rc == CURLE_OK)
        rc = curl_easy_perform(h->curl);
    long status = 0;
    (void)curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &status);
    /* A server that refuses an upload answers and closes before it has all of it. */
    bool refused_early = (rc == CURLE_SEND_ERROR || rc == CURLE_RECV_ERROR) && status >= 400 && x.body.len > 0;
    enum err e = rc == CURLE_OK || refused_early ? answer_take(h, &x, ret_answer) : transport_error(h, rc, &x, info);
    request_forget(h);
    curl_slist_free_all(headers);
    buf_free(&x.body);
    return e;
}

void answer_free(struct answer *a)
{
    free(a->text);
    a->text = NULL;
}
