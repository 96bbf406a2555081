/* Asks for the desired document. */

#include "agent/fetch/http.h"

void operation_desired(const struct request *request, struct outcome *outcome)
{
    struct http http;
    json_t *document = NULL;
    outcome->ok =
        http_open(&http, request, "/device/v1/desired", true, outcome) && http_json(&http, NULL, &document, outcome);
    if (outcome->ok)
        outcome->answer = json_pack("{so}", "desired", document);
    if (outcome->ok && outcome->answer == NULL)
        (void)outcome_retry(outcome, "internal", "out of memory");
    http_close(&http);
}
