/* Gets the device its certificate: with a token the first time, with the present certificate later. */

#include "agent/fetch/http.h"
#include "agent/fetch/key.h"
#include "common/base/text.h"

#include <stdlib.h>
#include <string.h>

enum { DEVICE_ID_LEN = 26, PEM_MAX = 64 * 1024, BROKERS_MAX = 32, HOST_MAX = 253 };

static bool brokers_ok(const json_t *answer)
{
    json_t *brokers = NULL;
    if (json_get_array(answer, "brokers", BROKERS_MAX, &brokers, NULL) != ERR_OK || json_array_size(brokers) == 0)
        return false;
    for (size_t i = 0; i < json_array_size(brokers); i++) {
        const json_t *broker = json_array_get(brokers, i);
        const char *host = NULL;
        int64_t port = 0;
        if (json_get_text(broker, "host", HOST_MAX, &host, NULL) != ERR_OK ||
            json_get_i64(broker, "port", 1, 65535, &port, NULL) != ERR_OK)
            return false;
    }
    return true;
}

static bool device_id_ok(const char *id)
{
    return id != NULL && strlen(id) == DEVICE_ID_LEN && strspn(id, "abcdefghijklmnopqrstuvwxyz234567") == DEVICE_ID_LEN;
}

/* Nothing of the answer is used before all of it was found good; then the certificate's times are added. */
static bool answer_check(json_t *answer, EVP_PKEY *key, struct outcome *outcome)
{
    int64_t not_before = 0;
    int64_t not_after = 0;
    const char *certificate = NULL;
    const char *ca = NULL;
    const char *wrong = NULL;
    if (!device_id_ok(json_text_or_null(answer, "device")))
        wrong = "`device` is not a device id";
    else if (json_get_text(answer, "certificate", PEM_MAX, &certificate, NULL) != ERR_OK ||
             !key_fits(key, certificate, &not_before, &not_after))
        wrong = "`certificate` is not one for this device's key";
    else if (json_get_text(answer, "ca", PEM_MAX, &ca, NULL) != ERR_OK || !pem_is_certificate(ca))
        wrong = "`ca` is not a certificate";
    else if (!brokers_ok(answer))
        wrong = "`brokers` is not a list of hosts and ports";
    if (wrong != NULL)
        return outcome_retry(outcome, "server_unavailable", "the server's answer is not usable: %s", wrong);
    if (json_object_set_new(answer, "not_before", json_integer(not_before)) != 0 ||
        json_object_set_new(answer, "not_after", json_integer(not_after)) != 0)
        return outcome_retry(outcome, "internal", "out of memory");
    return true;
}

/* Posts the body (stolen, may be NULL when memory was short) and takes the answer. */
static void certificate_get(const struct request *request, const char *path, bool with_certificate, json_t *body,
                            EVP_PKEY *key, struct outcome *outcome)
{
    struct http http;
    json_t *answer = NULL;
    if (body == NULL) {
        (void)outcome_retry(outcome, "internal", "out of memory");
        return;
    }
    outcome->ok = http_open(&http, request, path, with_certificate, outcome) &&
                  http_json(&http, body, &answer, outcome) && answer_check(answer, key, outcome);
    http_close(&http);
    json_decref(body);
    if (outcome->ok)
        outcome->answer = json_pack("{sO}", "enrolment", answer);
    if (outcome->ok && outcome->answer == NULL)
        (void)outcome_retry(outcome, "internal", "out of memory");
    json_decref(answer);
}

void operation_enrol(const struct request *request, struct outcome *outcome)
{
    EVP_PKEY *key = NULL;
    char *csr = NULL;
    const char *token = request_text(request, "token", outcome);
    const char *name = token == NULL ? NULL : request_text(request, "name", outcome);
    const char *hardware = json_text_or_null(request->json, "hardware");
    if (name == NULL)
        return;
    if (key_load_or_make(request->key, &key, outcome) && key_request(key, name, &csr, outcome)) {
        json_t *body = json_pack("{ss ss ss}", "token", token, "csr", csr, "name", name);
        if (body != NULL && hardware != NULL && *hardware != '\0' &&
            json_object_set_new(body, "hardware", json_string(hardware)) != 0) {
            json_decref(body);
            body = NULL;
        }
        certificate_get(request, "/device/v1/enrol", false, body, key, outcome);
    }
    free(csr);
    EVP_PKEY_free(key);
}

void operation_renew(const struct request *request, struct outcome *outcome)
{
    EVP_PKEY *key = NULL;
    char *csr = NULL;
    const char *new_key = request_text(request, "new_key", outcome);
    if (new_key == NULL)
        return;
    if (key_load_or_make(new_key, &key, outcome) && key_request(key, "device", &csr, outcome))
        certificate_get(request, "/device/v1/renew", true, json_pack("{ss}", "csr", csr), key, outcome);
    free(csr);
    EVP_PKEY_free(key);
}
