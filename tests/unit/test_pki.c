/* server/pki: what `pki init` makes and keeps, and what device certificates say. */

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/text.h"
#include "server/core/device_id.h"
#include "server/pki/hosts.h"
#include "tests/unit/pki_kit.h"

#include <openssl/x509v3.h>
#include <sys/file.h>
#include <sys/stat.h>

static const char ID[] = "abcdefghijklmnopqrstuvwxyz";

/* Runs `pki init` again in the kit's folder; what it said, free() it. */
static char *init_again(const struct pki_kit *kit, const char *hosts, enum err expected, struct err_info *info)
{
    char *said = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&said, &len);
    *info = (struct err_info){0};
    assert_non_null(out);
    assert_int_equal(pki_init(kit->dir, hosts, out, info), expected);
    assert_int_equal(fclose(out), 0);
    return said;
}

static const char *kit_path(const struct pki_kit *kit, const char *name, char path[128])
{
    (void)snprintf(path, 128, "%s/%s", kit->dir, name);
    return path;
}

static void assert_says(const char *said, const char *what)
{
    if (strstr(said, what) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", said, what);
}

/* The certificate verifies under the CA for the purpose, or does not. */
static void assert_verifies(X509 *certificate, X509 *ca, int purpose, bool expected)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    assert_int_equal(X509_STORE_add_cert(store, ca), 1);
    assert_int_equal(X509_STORE_CTX_init(context, store, certificate, NULL), 1);
    assert_int_equal(X509_STORE_CTX_set_purpose(context, purpose), 1);
    X509_VERIFY_PARAM_set_flags(X509_STORE_CTX_get0_param(context), X509_V_FLAG_X509_STRICT);
    assert_int_equal(X509_verify_cert(context) == 1, expected);
    X509_STORE_CTX_free(context);
    X509_STORE_free(store);
}

static void init_makes_everything_with_the_right_modes(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        mode_t mode;
    } files[] = {
        {"", 0700},
        {"server-ca.key", 0600},
        {"server-ca.pem", 0644},
        {"device-ca.key", 0600},
        {"device-ca.pem", 0644},
        {"musterd.key", 0600},
        {"musterd.pem", 0644},
        {"broker.key", 0600},
        {"broker.pem", 0644},
        {"mqtt-client.key", 0600},
        {"mqtt-client.pem", 0644},
    };
    cleanup_pki_kit struct pki_kit kit;
    pki_kit_start(&kit);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[128];
        struct stat st;
        assert_int_equal(stat(kit_path(&kit, files[i].name, path), &st), 0);
        assert_int_equal(st.st_mode & 07777, files[i].mode);
    }
}

static void certificates_are_for_one_purpose(void **state)
{
    (void)state;
    cleanup_pki_kit struct pki_kit kit;
    pki_kit_start(&kit);
    cleanup_x509 X509 *server_ca = pki_kit_read(&kit, "server-ca.pem");
    cleanup_x509 X509 *device_ca = pki_kit_read(&kit, "device-ca.pem");
    cleanup_x509 X509 *musterd = pki_kit_read(&kit, "musterd.pem");
    cleanup_x509 X509 *broker = pki_kit_read(&kit, "broker.pem");
    cleanup_x509 X509 *client = pki_kit_read(&kit, "mqtt-client.pem");
    assert_verifies(musterd, server_ca, X509_PURPOSE_SSL_SERVER, true);
    assert_verifies(musterd, server_ca, X509_PURPOSE_SSL_CLIENT, false);
    assert_verifies(musterd, device_ca, X509_PURPOSE_SSL_SERVER, false);
    assert_verifies(broker, server_ca, X509_PURPOSE_SSL_SERVER, true);
    assert_verifies(client, server_ca, X509_PURPOSE_SSL_CLIENT, true);
    assert_verifies(client, server_ca, X509_PURPOSE_SSL_SERVER, false);
    assert_int_equal(X509_check_host(musterd, "localhost", 0, 0, NULL), 1);
    assert_int_equal(X509_check_ip_asc(musterd, "127.0.0.1", 0), 1);
    assert_int_equal(X509_check_host(musterd, "example.org", 0, 0, NULL), 0);
    assert_int_equal(X509_get_pathlen(device_ca), 0);
    assert_int_equal(X509_get_key_usage(device_ca), KU_KEY_CERT_SIGN | KU_CRL_SIGN);
    int64_t years = (x509_not_after_s(device_ca) - clock_wall_ms() / 1000) / (365 * (int64_t)X509_DAY_S);
    assert_int_equal(years, 10);
}

static void init_again_keeps_every_file(void **state)
{
    (void)state;
    cleanup_pki_kit struct pki_kit kit;
    pki_kit_start(&kit);
    struct err_info info;
    cleanup_x509 X509 *before = pki_kit_read(&kit, "musterd.pem");
    cleanup_x509 X509 *ca_before = pki_kit_read(&kit, "device-ca.pem");
    cleanup_free char *said = init_again(&kit, "localhost,127.0.0.1", ERR_OK, &info);
    cleanup_x509 X509 *after = pki_kit_read(&kit, "musterd.pem");
    cleanup_x509 X509 *ca_after = pki_kit_read(&kit, "device-ca.pem");
    assert_says(said, "kept");
    assert_null(strstr(said, "made"));
    assert_null(strstr(said, "renewed"));
    assert_int_equal(X509_cmp(before, after), 0);
    assert_int_equal(X509_cmp(ca_before, ca_after), 0);
}

static void new_hosts_renew_server_certificates_only(void **state)
{
    (void)state;
    cleanup_pki_kit struct pki_kit kit;
    pki_kit_start(&kit);
    struct err_info info;
    cleanup_x509 X509 *ca_before = pki_kit_read(&kit, "server-ca.pem");
    cleanup_x509 X509 *client_before = pki_kit_read(&kit, "mqtt-client.pem");
    cleanup_free char *said = init_again(&kit, "muster.example.org,10.1.2.3,2001:db8::7", ERR_OK, &info);
    cleanup_x509 X509 *musterd = pki_kit_read(&kit, "musterd.pem");
    cleanup_x509 X509 *ca_after = pki_kit_read(&kit, "server-ca.pem");
    cleanup_x509 X509 *client_after = pki_kit_read(&kit, "mqtt-client.pem");
    assert_says(said, "the hosts have changed");
    assert_int_equal(X509_check_host(musterd, "muster.example.org", 0, 0, NULL), 1);
    assert_int_equal(X509_check_ip_asc(musterd, "2001:db8::7", 0), 1);
    assert_int_equal(X509_check_host(musterd, "localhost", 0, 0, NULL), 0);
    assert_int_equal(X509_cmp(ca_before, ca_after), 0);
    assert_int_equal(X509_cmp(client_before, client_after), 0);
}

/* Puts a certificate for the kit's broker key, of the given days and CA, where `pki init` finds it. */
static void broker_replace(const struct pki_kit *kit, int64_t days, X509 *ca, EVP_PKEY *ca_key)
{
    char path[128];
    cleanup_key EVP_PKEY *key = NULL;
    cleanup_x509 X509 *old = NULL;
    const struct x509_leaf leaf = {"localhost", "serverAuth", "DNS:localhost,IP:127.0.0.1", clock_wall_ms() / 1000,
                                   days};
    assert_int_equal(pem_key_read(kit_path(kit, "broker.key", path), &key, NULL), ERR_OK);
    assert_int_equal(x509_issue_leaf(&leaf, key, ca, ca_key, &old, NULL), ERR_OK);
    assert_int_equal(pem_certificate_write(kit_path(kit, "broker.pem", path), old, NULL), ERR_OK);
}

static void certificates_near_their_end_or_of_others_are_renewed(void **state)
{
    (void)state;
    cleanup_pki_kit struct pki_kit kit;
    pki_kit_start(&kit);
    struct err_info info;
    char path[128];
    cleanup_x509 X509 *ca = pki_kit_read(&kit, "server-ca.pem");
    cleanup_key EVP_PKEY *ca_key = NULL;
    assert_int_equal(pem_key_read(kit_path(&kit, "server-ca.key", path), &ca_key, NULL), ERR_OK);

    broker_replace(&kit, 31, ca, ca_key);
    cleanup_free char *kept = init_again(&kit, "localhost,127.0.0.1", ERR_OK, &info);
    assert_null(strstr(kept, "renewed"));

    broker_replace(&kit, 29, ca, ca_key);
    cleanup_free char *near = init_again(&kit, "localhost,127.0.0.1", ERR_OK, &info);
    assert_says(near, "near its end");

    cleanup_x509 X509 *other_ca = pki_kit_read(&kit, "device-ca.pem");
    cleanup_key EVP_PKEY *other_key = NULL;
    assert_int_equal(pem_key_read(kit_path(&kit, "device-ca.key", path), &other_key, NULL), ERR_OK);
    broker_replace(&kit, 365, other_ca, other_key);
    cleanup_free char *other = init_again(&kit, "localhost,127.0.0.1", ERR_OK, &info);
    assert_says(other, "of another CA");
}

/* A crash between the key and its certificate. */
static void init_goes_on_where_it_was_interrupted(void **state)
{
    (void)state;
    cleanup_pki_kit struct pki_kit kit;
    pki_kit_start(&kit);
    struct err_info info;
    char path[128];
    assert_int_equal(unlink(kit_path(&kit, "server-ca.pem", path)), 0);
    assert_int_equal(unlink(kit_path(&kit, "mqtt-client.pem", path)), 0);
    cleanup_free char *said = init_again(&kit, "localhost,127.0.0.1", ERR_OK, &info);
    assert_says(said, "made");
    cleanup_x509 X509 *ca = pki_kit_read(&kit, "server-ca.pem");
    cleanup_x509 X509 *musterd = pki_kit_read(&kit, "musterd.pem");
    cleanup_x509 X509 *client = pki_kit_read(&kit, "mqtt-client.pem");
    assert_verifies(musterd, ca, X509_PURPOSE_SSL_SERVER, true);
    assert_verifies(client, ca, X509_PURPOSE_SSL_CLIENT, true);
}

static void init_never_replaces_a_ca(void **state)
{
    (void)state;
    cleanup_pki_kit struct pki_kit kit;
    pki_kit_start(&kit);
    struct err_info info;
    char path[128];
    assert_int_equal(unlink(kit_path(&kit, "device-ca.key", path)), 0);
    free(init_again(&kit, "localhost", ERR_INVALID, &info));
    assert_says(info.text, "device-ca.key is not");
    assert_says(info.next, "backup");

    cleanup_key EVP_PKEY *other = EVP_EC_gen("P-256");
    assert_int_equal(pem_key_write(path, other, &info), ERR_OK);
    free(init_again(&kit, "localhost", ERR_INVALID, &info));
    assert_says(info.text, "do not belong together");
}

static void init_names_a_bad_host(void **state)
{
    (void)state;
    static const char *const bad[] = {"",        "a,,b",   "a b",    "-a",          "a-",  "a..b", "256.1.1.1",
                                      "a,DNS:b", "a\nb.c", "x_y.de", "*.*.example", "a/b", "a:1",  "[::1]"};
    cleanup_pki_kit struct pki_kit kit;
    pki_kit_start(&kit);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err_info info;
        cleanup_free char *said = init_again(&kit, bad[i], ERR_INVALID, &info);
        assert_string_equal(info.field, "host");
        assert_string_equal(said, "");
    }
    cleanup_buf struct buf names = BUF_INIT(200);
    char first[65];
    assert_int_equal(hosts_alt_names("*.example.org,::1,A-1", &names, first, NULL), ERR_OK);
    assert_string_equal(names.data, "DNS:*.example.org,IP:::1,DNS:A-1");
    assert_string_equal(first, "*.example.org");
}

static void init_runs_once_at_a_time(void **state)
{
    (void)state;
    cleanup_pki_kit struct pki_kit kit;
    pki_kit_start(&kit);
    struct err_info info;
    cleanup_dir DIR *dir = opendir(kit.dir);
    assert_int_equal(flock(dirfd(dir), LOCK_EX), 0);
    free(init_again(&kit, "localhost", ERR_CONFLICT, &info));
    assert_says(info.text, "another `pki init`");
}

static void load_says_what_is_wrong(void **state)
{
    (void)state;
    cleanup_pki_kit struct pki_kit kit;
    pki_kit_start(&kit);
    struct err_info info = {0};
    struct pki *pki = NULL;
    char path[128];
    char other[128];
    assert_int_equal(pki_load("/nonexistent", &pki, &info), ERR_NOT_FOUND);
    assert_says(info.text, "/nonexistent/device-ca.pem");
    assert_says(info.next, "musterd pki init");

    assert_int_equal(chmod(kit_path(&kit, "device-ca.key", path), 0644), 0);
    assert_int_equal(pki_load(kit.dir, &pki, &info), ERR_INVALID);
    assert_says(info.next, "chmod 600");
    assert_int_equal(chmod(path, 0600), 0);

    assert_int_equal(rename(kit_path(&kit, "broker.key", other), path), 0);
    assert_int_equal(pki_load(kit.dir, &pki, &info), ERR_INVALID);
    assert_says(info.text, "does not belong to device-ca.pem");

    assert_int_equal(rename(kit_path(&kit, "musterd.pem", other), kit_path(&kit, "device-ca.pem", path)), 0);
    assert_int_equal(pki_load(kit.dir, &pki, &info), ERR_INVALID);
    assert_says(info.text, "not the certificate of a CA");

    assert_int_equal(file_write(path, "junk", 4, 0644), ERR_OK);
    assert_int_equal(pki_load(kit.dir, &pki, &info), ERR_INVALID);
    assert_says(info.text, "not a PEM certificate");
    assert_null(pki);
}

static void device_certificates_say_what_the_server_decides(void **state)
{
    (void)state;
    cleanup_pki_kit struct pki_kit kit;
    pki_kit_start(&kit);
    cleanup_key EVP_PKEY *key = EVP_EC_gen("P-256");
    cleanup_certificate struct certificate issued = {0};
    pki_kit_device(&kit, key, ID, "device", &issued);
    cleanup_x509 X509 *certificate = pki_kit_read(&kit, "device.pem");
    cleanup_x509 X509 *device_ca = pki_kit_read(&kit, "device-ca.pem");
    cleanup_x509 X509 *server_ca = pki_kit_read(&kit, "server-ca.pem");

    char subject[128];
    assert_non_null(X509_NAME_oneline(X509_get_subject_name(certificate), subject, sizeof subject));
    assert_string_equal(subject, "/CN=abcdefghijklmnopqrstuvwxyz");
    assert_verifies(certificate, device_ca, X509_PURPOSE_SSL_CLIENT, true);
    assert_verifies(certificate, device_ca, X509_PURPOSE_SSL_SERVER, false);
    assert_verifies(certificate, server_ca, X509_PURPOSE_SSL_CLIENT, false);
    assert_int_equal(X509_get_extended_key_usage(certificate), XKU_SSL_CLIENT);
    assert_int_equal(X509_get_ext_by_NID(certificate, NID_subject_alt_name, -1), -1);

    int64_t days = (issued.not_after_ms / 1000 - clock_wall_ms() / 1000 + 60) / X509_DAY_S;
    assert_int_equal(days, DEVICE_CERTIFICATE_DAYS);
    char fingerprint[SHA256_HEX];
    assert_int_equal(x509_fingerprint(certificate, fingerprint), ERR_OK);
    assert_string_equal(issued.fingerprint, fingerprint);
    assert_true(EVP_PKEY_eq(X509_get0_pubkey(certificate), key) == 1);
}

/* All servers with this PKI have the same name for their share, others another. */
static void share_names_belong_to_an_installation(void **state)
{
    (void)state;
    cleanup_pki_kit struct pki_kit kit;
    cleanup_pki_kit struct pki_kit other;
    struct pki *again = NULL;
    pki_kit_start(&kit);
    pki_kit_start(&other);
    assert_int_equal(pki_load(kit.dir, &again, NULL), ERR_OK);
    assert_int_equal(strlen(pki_share_name(kit.pki)), 32);
    assert_string_equal(pki_share_name(again), pki_share_name(kit.pki));
    assert_string_not_equal(pki_share_name(other.pki), pki_share_name(kit.pki));
    pki_free(again);
}

static void serial_numbers_are_long_and_differ(void **state)
{
    (void)state;
    cleanup_pki_kit struct pki_kit kit;
    pki_kit_start(&kit);
    cleanup_key EVP_PKEY *key = EVP_EC_gen("P-256");
    cleanup_certificate struct certificate first = {0};
    cleanup_certificate struct certificate second = {0};
    pki_kit_device(&kit, key, ID, "first", &first);
    pki_kit_device(&kit, key, ID, "second", &second);
    cleanup_x509 X509 *a = pki_kit_read(&kit, "first.pem");
    cleanup_x509 X509 *b = pki_kit_read(&kit, "second.pem");
    assert_int_not_equal(ASN1_INTEGER_cmp(X509_get0_serialNumber(a), X509_get0_serialNumber(b)), 0);
    assert_int_equal(ASN1_STRING_length(X509_get0_serialNumber(a)), 16);
    assert_string_equal(first.public_key, second.public_key);
    assert_string_not_equal(first.fingerprint, second.fingerprint);
}

static void only_device_ids_are_signed(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "musterd",
                                      "abcdefghijklmnopqrstuvwxy",
                                      "abcdefghijklmnopqrstuvwxyz2",
                                      "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
                                      "abcdefghijklmnopqrstuvwxy1"};
    cleanup_pki_kit struct pki_kit kit;
    pki_kit_start(&kit);
    cleanup_key EVP_PKEY *key = EVP_EC_gen("P-256");
    cleanup_free char *pem = request_pem(key, key, "x");
    cleanup_csr struct csr *csr = NULL;
    assert_int_equal(csr_parse(pem, strlen(pem), &csr, NULL), ERR_OK);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct certificate certificate = {0};
        assert_int_equal(pki_sign_device(kit.pki, csr, bad[i], &certificate, NULL), ERR_INTERNAL);
        assert_null(certificate.pem);
        assert_false(device_id_ok(bad[i]));
    }
    assert_false(device_id_ok(NULL));
}

static void new_device_ids_are_good_and_differ(void **state)
{
    (void)state;
    char a[DEVICE_ID_SIZE];
    char b[DEVICE_ID_SIZE];
    assert_int_equal(device_id_new(a), ERR_OK);
    assert_int_equal(device_id_new(b), ERR_OK);
    assert_true(device_id_ok(a));
    assert_true(device_id_ok(b));
    assert_string_not_equal(a, b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(init_makes_everything_with_the_right_modes),
        cmocka_unit_test(certificates_are_for_one_purpose),
        cmocka_unit_test(init_again_keeps_every_file),
        cmocka_unit_test(new_hosts_renew_server_certificates_only),
        cmocka_unit_test(certificates_near_their_end_or_of_others_are_renewed),
        cmocka_unit_test(init_goes_on_where_it_was_interrupted),
        cmocka_unit_test(init_never_replaces_a_ca),
        cmocka_unit_test(init_names_a_bad_host),
        cmocka_unit_test(init_runs_once_at_a_time),
        cmocka_unit_test(load_says_what_is_wrong),
        cmocka_unit_test(device_certificates_say_what_the_server_decides),
        cmocka_unit_test(share_names_belong_to_an_installation),
        cmocka_unit_test(serial_numbers_are_long_and_differ),
        cmocka_unit_test(only_device_ids_are_signed),
        cmocka_unit_test(new_device_ids_are_good_and_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
