#include "agent/fetch/http.h"

#include "common/base/file.h"
#include "common/base/text.h"
#include "common/base/version.h"

#include <stdlib.h>
#include <string.h>

enum { CONNECT_S = 10, STALL_S = 30, JSON_TOTAL_S = 60, PEM_FILE_MAX = 1024 * 1024 };

static size_t body_write(char *bytes, size_t size, size_t count, void *user)
{
    struct http *http = user;
    return buf_add(&http->body, bytes, size * count) == ERR_OK ? size * count : 0;
}

/* Gives libcurl a PEM file's content, so that a disk that fails is not taken for a file that is wrong. */
static bool pem_set(struct http *http, CURLoption option, const char *path, const char *code, struct outcome *outcome)
{
    char *text = NULL;
    size_t len = 0;
    enum err e = file_read(path, PEM_FILE_MAX, &text, &len);
    if (e != ERR_OK)
        return outcome_fail(outcome, e == ERR_IO ? "io_error" : code, "cannot read %s: %s", path, err_name(e));
    struct curl_blob blob = {.data = text, .len = len, .flags = CURL_BLOB_COPY};
    CURLcode rc = curl_easy_setopt(http->curl, option, &blob);
    explicit_bzero(text, len); /* it may be a key */
    free(text);
    return rc == CURLE_OK || outcome_fail(outcome, "internal", "libcurl cannot take %s", path);
}

static bool options_set(struct http *http, const char *url)
{
    CURL *c = http->curl;
    CURLcode rc = curl_easy_setopt(c, CURLOPT_URL, url);
    rc |= curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "https");
    rc |= curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    rc |= curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    rc |= curl_easy_setopt(c, CURLOPT_ERRORBUFFER, http->error);
    rc |= curl_easy_setopt(c, CURLOPT_USERAGENT, "muster-fetch/" MUSTER_VERSION);
    rc |= curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    rc |= curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 1L);
    rc |= curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 2L);
    rc |= curl_easy_setopt(c, CURLOPT_CAPATH, NULL);
    rc |= curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
    rc |= curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    rc |= curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)STALL_S);
    rc |= curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, body_write);
    rc |= curl_easy_setopt(c, CURLOPT_WRITEDATA, http);
    return rc == CURLE_OK;
}

bool http_open(struct http *http, const struct request *request, const char *path, bool with_certificate,
               struct outcome *outcome)
{
    char url[1024];
    *http = (struct http){.body = BUF_INIT(JSON_BYTES_MAX), .ca = request->ca};
    int n = snprintf(url, sizeof url, "%s%s", request->url, path);
    if (n < 0 || (size_t)n >= sizeof url)
        return outcome_fail(outcome, "request_invalid", "url is too long");
    http->curl = curl_easy_init();
    if (http->curl == NULL || !options_set(http, url))
        return outcome_fail(outcome, "internal", "libcurl cannot be set up for %s", url);
    return pem_set(http, CURLOPT_CAINFO_BLOB, request->ca, "server_untrusted", outcome) &&
           (!with_certificate ||
            (pem_set(http, CURLOPT_SSLCERT_BLOB, request->certificate, "identity_invalid", outcome) &&
             pem_set(http, CURLOPT_SSLKEY_BLOB, request->key, "identity_invalid", outcome)));
}

void http_close(struct http *http)
{
    curl_easy_cleanup(http->curl);
    curl_slist_free_all(http->headers);
    buf_free(&http->body);
}

static bool http_broken(const struct http *http, CURLcode rc, struct outcome *outcome)
{
    const char *text = http->error[0] != '\0' ? http->error : curl_easy_strerror(rc);
    switch (rc) {
    case CURLE_PEER_FAILED_VERIFICATION:
        return outcome_retry(outcome, "server_untrusted",
                             "the server's certificate was not accepted: %s; it must be signed by the CA in %s and be "
                             "for the host name of server_url",
                             text, http->ca);
    case CURLE_SSL_CACERT_BADFILE:
        return outcome_fail(outcome, "server_untrusted", "%s cannot be read as a CA certificate: %s", http->ca, text);
    case CURLE_SSL_CERTPROBLEM:
        return outcome_fail(outcome, "identity_invalid", "the device's certificate or key cannot be used: %s", text);
    case CURLE_OUT_OF_MEMORY:
        return outcome_retry(outcome, "internal", "out of memory");
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return outcome_fail(outcome, "request_invalid", "server_url is not valid: %s", text);
    default:
        return outcome_retry(outcome, "server_unreachable", "no answer from the server: %s", text);
    }
}

bool http_run(struct http *http, long *ret_status, struct outcome *outcome)
{
    CURLcode rc = curl_easy_perform(http->curl);
    if (rc != CURLE_OK)
        return http_broken(http, rc, outcome);
    if (curl_easy_getinfo(http->curl, CURLINFO_RESPONSE_CODE, ret_status) != CURLE_OK)
        return outcome_retry(outcome, "server_unreachable", "no status from the server");
    return true;
}

bool http_problem(const struct http *http, long status, struct outcome *outcome)
{
    json_t *problem = NULL;
    if (http->body.len == 0 || json_parse(http->body.data, http->body.len, JSON_BYTES_MAX, &problem, NULL) != ERR_OK)
        problem = NULL;
    const char *code = json_text_or_null(problem, "code");
    const char *detail = json_text_or_null(problem, "detail");
    const char *next = json_text_or_null(problem, "next");
    if (code == NULL)
        code = "no_code";
    if (detail == NULL)
        detail = "no detail";
    curl_off_t wait_s = 0;
    (void)curl_easy_getinfo(http->curl, CURLINFO_RETRY_AFTER, &wait_s);
    bool busy = status == 503 || status == 408 || status == 425 || status == 429;
    if (busy || status >= 500)
        (void)outcome_retry(outcome, busy ? "server_unavailable" : "server_failed", "the server answered %ld %s: %s",
                            status, code, detail);
    else
        (void)outcome_fail(outcome, status == 404 ? "object_not_found" : "server_refused",
                           "the server answered %ld %s: %s%s%s", status, code, detail, next == NULL ? "" : "; ",
                           next == NULL ? "" : next);
    outcome->retry_after_s = outcome->transient && wait_s > 0 ? wait_s : 0;
    json_decref(problem);
    return false;
}

static bool body_set(struct http *http, const char *text)
{
    http->headers = curl_slist_append(NULL, "Content-Type: application/json");
    return http->headers != NULL && curl_easy_setopt(http->curl, CURLOPT_HTTPHEADER, http->headers) == CURLE_OK &&
           curl_easy_setopt(http->curl, CURLOPT_COPYPOSTFIELDS, text) == CURLE_OK;
}

bool http_json(struct http *http, const json_t *body, json_t **ret_answer, struct outcome *outcome)
{
    char *text = NULL;
    long status = 0;
    struct err_info info = {0};
    if (body != NULL) {
        bool set = json_print(body, &text, NULL) == ERR_OK && body_set(http, text);
        free(text);
        if (!set)
            return outcome_retry(outcome, "internal", "out of memory");
    }
    if (curl_easy_setopt(http->curl, CURLOPT_TIMEOUT, (long)JSON_TOTAL_S) != CURLE_OK)
        return outcome_fail(outcome, "internal", "libcurl cannot be set up");
    if (!http_run(http, &status, outcome))
        return false;
    if (status != 200 && status != 201)
        return http_problem(http, status, outcome);
    if (http->body.len == 0 || json_parse(http->body.data, http->body.len, JSON_BYTES_MAX, ret_answer, &info) != ERR_OK)
        return outcome_retry(outcome, "server_unavailable", "the server's answer is not JSON: %s", info.text);
    return true;
}
