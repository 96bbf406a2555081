/* server/http/peer: client certificates on a real TLS connection to libmicrohttpd. */

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/text.h"
#include "server/http/peer.h"
#include "tests/unit/pki_kit.h"

#include <curl/curl.h>
#include <microhttpd.h>

#define ID "abcdefghijklmnopqrstuvwxyz"

enum { ANSWER_MAX = 512 };

struct stage {
    struct pki_kit kit;
    char *server_key, *server_pem, *device_ca;
    X509 *ca; /* of devices */
    EVP_PKEY *ca_key;
    EVP_PKEY *key; /* of the device */
    struct MHD_Daemon *daemon;
    int port;
};
static struct stage stage;

/* Answers with what peer_identify finds: "ID FINGERPRINT", or the error's code and text. */
static enum MHD_Result answer(void *arg, struct MHD_Connection *connection, const char *url, const char *method,
                              const char *version, const char *data, size_t *size, void **state)
{
    (void)arg;
    (void)url;
    (void)method;
    (void)version;
    (void)data;
    (void)size;
    (void)state;
    struct peer_identity peer;
    struct err_info info = {0};
    char text[ANSWER_MAX];
    enum err e = peer_identify(connection, &peer, &info);
    if (e == ERR_OK)
        (void)snprintf(text, sizeof text, "%s %s", peer.device_id, peer.fingerprint);
    else
        (void)snprintf(text, sizeof text, "%s: %s", info.code, info.text);
    struct MHD_Response *response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_COPY);
    enum MHD_Result result = MHD_queue_response(connection, e == ERR_OK ? 200 : 401, response);
    MHD_destroy_response(response);
    return result;
}

static char *kit_file(const char *name)
{
    char path[128];
    char *text = NULL;
    (void)snprintf(path, sizeof path, "%s/%s", stage.kit.dir, name);
    assert_int_equal(file_read(path, 65536, &text, NULL), ERR_OK);
    return text;
}

static int stage_start(void **state)
{
    (void)state;
    char path[128];
    assert_int_equal(curl_global_init(CURL_GLOBAL_DEFAULT), CURLE_OK);
    pki_kit_start(&stage.kit);
    stage.server_key = kit_file("musterd.key");
    stage.server_pem = kit_file("musterd.pem");
    stage.device_ca = kit_file("device-ca.pem");
    stage.ca = pki_kit_read(&stage.kit, "device-ca.pem");
    (void)snprintf(path, sizeof path, "%s/device-ca.key", stage.kit.dir);
    assert_int_equal(pem_key_read(path, &stage.ca_key, NULL), ERR_OK);
    stage.key = EVP_EC_gen("P-256");
    stage.daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_TLS | MHD_USE_ERROR_LOG, 0, NULL, NULL,
                                    answer, NULL, MHD_OPTION_HTTPS_MEM_KEY, stage.server_key, MHD_OPTION_HTTPS_MEM_CERT,
                                    stage.server_pem, MHD_OPTION_HTTPS_MEM_TRUST, stage.device_ca, MHD_OPTION_END);
    assert_non_null(stage.daemon);
    stage.port = MHD_get_daemon_info(stage.daemon, MHD_DAEMON_INFO_BIND_PORT)->port;
    return 0;
}

static int stage_stop(void **state)
{
    (void)state;
    MHD_stop_daemon(stage.daemon);
    free(stage.server_key);
    free(stage.server_pem);
    free(stage.device_ca);
    X509_free(stage.ca);
    EVP_PKEY_free(stage.ca_key);
    EVP_PKEY_free(stage.key);
    pki_kit_end(&stage.kit);
    curl_global_cleanup();
    return 0;
}

static size_t collect(char *bytes, size_t size, size_t count, void *arg)
{
    char *text = arg;
    size_t used = strlen(text);
    if (used + size * count >= ANSWER_MAX)
        return 0;
    memcpy(text + used, bytes, size * count);
    text[used + size * count] = '\0';
    return size * count;
}

/* What the server says to a client with NAME.pem and the stage's key (NULL: no certificate); free() it. */
static char *ask(const char *name, long tls_version)
{
    char url[64];
    char ca[128];
    char pem[128];
    char key[128];
    char *text = calloc(1, ANSWER_MAX);
    (void)snprintf(url, sizeof url, "https://localhost:%d/", stage.port);
    (void)snprintf(ca, sizeof ca, "%s/server-ca.pem", stage.kit.dir);
    (void)snprintf(pem, sizeof pem, "%s/%s.pem", stage.kit.dir, name == NULL ? "" : name);
    (void)snprintf(key, sizeof key, "%s/device.key", stage.kit.dir);
    assert_int_equal(pem_key_write(key, stage.key, NULL), ERR_OK);
    CURL *curl = curl_easy_init();
    assert_non_null(text);
    assert_non_null(curl);
    (void)curl_easy_setopt(curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(curl, CURLOPT_CAINFO, ca);
    (void)curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    (void)curl_easy_setopt(curl, CURLOPT_SSLVERSION, tls_version);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, text);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, 5000L);
    if (name != NULL) {
        (void)curl_easy_setopt(curl, CURLOPT_SSLCERT, pem);
        (void)curl_easy_setopt(curl, CURLOPT_SSLKEY, key);
    }
    CURLcode code = curl_easy_perform(curl);
    if (code != CURLE_OK)
        fail_msg("%s", curl_easy_strerror(code));
    curl_easy_cleanup(curl);
    return text;
}

static void assert_answer(const char *name, const char *begin)
{
    cleanup_free char *newest = ask(name, CURL_SSLVERSION_MAX_DEFAULT);
    cleanup_free char *tls12 = ask(name, CURL_SSLVERSION_MAX_TLSv1_2);
    if (!text_starts(newest, begin))
        fail_msg("\"%s\" does not begin with \"%s\"", newest, begin);
    assert_string_equal(newest, tls12);
}

static void put(const char *name, const X509 *certificate)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s.pem", stage.kit.dir, name);
    assert_int_equal(pem_certificate_write(path, certificate, NULL), ERR_OK);
}

/* A certificate for the stage's key with the given CN and purpose, of the given age, by the device CA; X509_free() it.
 */
static X509 *issue(const char *common_name, const char *purpose, int64_t age_days, int64_t days)
{
    int64_t now_s = clock_wall_ms() / 1000 - age_days * X509_DAY_S;
    const struct x509_leaf leaf = {common_name, purpose, NULL, now_s, days};
    X509 *certificate = NULL;
    assert_int_equal(x509_issue_leaf(&leaf, stage.key, stage.ca, stage.ca_key, &certificate, NULL), ERR_OK);
    return certificate;
}

static void names_an_enrolled_device(void **state)
{
    (void)state;
    cleanup_certificate struct certificate issued = {0};
    pki_kit_device(&stage.kit, stage.key, ID, "good", &issued);
    char expected[ANSWER_MAX];
    (void)snprintf(expected, sizeof expected, ID " %s", issued.fingerprint);
    assert_answer("good", expected);
}

static void asks_for_a_certificate(void **state)
{
    (void)state;
    assert_answer(NULL, "certificate_required: ");
}

static void refuses_another_ca_with_the_same_name(void **state)
{
    (void)state;
    cleanup_pki_kit struct pki_kit other;
    cleanup_certificate struct certificate issued = {0};
    pki_kit_start(&other);
    pki_kit_device(&other, stage.key, ID, "foreign", &issued);
    cleanup_x509 X509 *foreign = pki_kit_read(&other, "foreign.pem");
    put("foreign", foreign);
    assert_answer("foreign", "certificate_invalid: ");
}

/* Says that our CA has issued it, but the device has signed it itself. */
static void refuses_a_forged_signature(void **state)
{
    (void)state;
    const struct x509_leaf leaf = {ID, "clientAuth", NULL, clock_wall_ms() / 1000, 90};
    cleanup_x509 X509 *forged = NULL;
    assert_int_equal(x509_issue_leaf(&leaf, stage.key, stage.ca, stage.key, &forged, NULL), ERR_OK);
    put("forged", forged);
    assert_answer("forged", "certificate_invalid: ");
}

static void refuses_what_has_ended_or_not_begun(void **state)
{
    (void)state;
    cleanup_x509 X509 *ended = issue(ID, "clientAuth", 91, 90);
    cleanup_x509 X509 *future = issue(ID, "clientAuth", -2, 90);
    put("ended", ended);
    put("future", future);
    assert_answer("ended", "certificate_invalid: ");
    assert_answer("future", "certificate_invalid: ");
}

static void refuses_other_purposes_and_names(void **state)
{
    (void)state;
    cleanup_x509 X509 *server = issue(ID, "serverAuth", 0, 90);
    cleanup_x509 X509 *named = issue("musterd", "clientAuth", 0, 90);
    cleanup_x509 X509 *longer = issue(ID "2", "clientAuth", 0, 90);
    put("server", server);
    put("named", named);
    put("longer", longer);
    assert_answer("server", "certificate_invalid: ");
    assert_answer("named", "certificate_invalid: the client certificate does not name a device");
    assert_answer("longer", "certificate_invalid: the client certificate does not name a device");
}

static void refuses_two_common_names(void **state)
{
    (void)state;
    cleanup_x509 X509 *twice = issue(ID, "clientAuth", 0, 90);
    X509_NAME *subject = X509_get_subject_name(twice);
    assert_int_equal(X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8,
                                                (const unsigned char *)"zyxwvutsrqponmlkjihgfedcba", -1, -1, 0),
                     1);
    assert_true(X509_sign(twice, stage.ca_key, EVP_sha256()) > 0);
    put("twice", twice);
    assert_answer("twice", "certificate_invalid: the client certificate does not name a device");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_an_enrolled_device),
        cmocka_unit_test(asks_for_a_certificate),
        cmocka_unit_test(refuses_another_ca_with_the_same_name),
        cmocka_unit_test(refuses_a_forged_signature),
        cmocka_unit_test(refuses_what_has_ended_or_not_begun),
        cmocka_unit_test(refuses_other_purposes_and_names),
        cmocka_unit_test(refuses_two_common_names),
    };
    return cmocka_run_group_tests(tests, stage_start, stage_stop);
}
