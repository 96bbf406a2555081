#include "agent/fetch/request.h"

#include "common/base/text.h"

enum { TEXT_MAX = 4096 };

const char *request_text(const struct request *request, const char *key, struct outcome *outcome)
{
    const char *text = NULL;
    struct err_info info = {0};
    if (json_get_text(request->json, key, TEXT_MAX, &text, &info) != ERR_OK) {
        (void)outcome_fail(outcome, "request_invalid", "%s", info.text);
        return NULL;
    }
    return text;
}

bool request_parse(const char *text, size_t len, struct request *ret_request, struct outcome *outcome)
{
    struct err_info info = {0};
    struct request r = {0};
    if (json_parse(text, len, JSON_BYTES_MAX, &r.json, &info) != ERR_OK)
        return outcome_fail(outcome, "request_invalid", "%s", info.text);
    r.operation = request_text(&r, "operation", outcome);
    r.url = r.operation == NULL ? NULL : request_text(&r, "url", outcome);
    r.ca = r.url == NULL ? NULL : request_text(&r, "ca", outcome);
    r.certificate = r.ca == NULL ? NULL : request_text(&r, "certificate", outcome);
    r.key = r.certificate == NULL ? NULL : request_text(&r, "key", outcome);
    bool complete = r.key != NULL;
    if (complete && !text_starts(r.url, "https://"))
        complete = outcome_fail(outcome, "request_invalid", "url must begin with https://");
    if (!complete) {
        json_decref(r.json);
        return false;
    }
    *ret_request = r;
    return true;
}

void request_free(struct request *request)
{
    json_decref(request->json);
    request->json = NULL;
}
