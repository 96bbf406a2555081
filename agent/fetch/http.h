#pragma once
/* HTTPS to the device port, by libcurl: TLS 1.2 or newer, the given CA and no other, the host's name checked, no
 * redirects, no other protocol, and time limits everywhere. */

#include "agent/fetch/request.h"
#include "common/base/buf.h"

#include <curl/curl.h>

struct http {
    CURL *curl;
    struct curl_slist *headers;
    struct buf body; /* of JSON answers and problems */
    const char *ca;
    char error[CURL_ERROR_SIZE];
};

/* Prepares a call of url + path; with_certificate: as this device. http_close() it whatever happens. */
bool http_open(struct http *http, const struct request *request, const char *path, bool with_certificate,
               struct outcome *outcome);
void http_close(struct http *http);

/* Runs it. False when no complete answer came (outcome says why); else its status. */
bool http_run(struct http *http, long *ret_status, struct outcome *outcome);

/* Fills the outcome of a status that is not the one hoped for, with the text of the problem in the body. */
bool http_problem(const struct http *http, long status, struct outcome *outcome);

/* POSTs a JSON body (NULL: GET) and parses the JSON answer of a 200 or 201. json_decref() it. */
bool http_json(struct http *http, const json_t *body, json_t **ret_answer, struct outcome *outcome);
