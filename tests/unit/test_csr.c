/* server/pki/csr: which requests are accepted, and which are not. */

#include "common/base/cleanup.h"
#include "common/base/text.h"
#include "tests/unit/pki_kit.h"

#include <openssl/ec.h>

static enum err parse(const char *pem, char ret_public_key[SHA256_HEX], struct err_info *info)
{
    *info = (struct err_info){0};
    struct csr *csr = NULL;
    enum err e = csr_parse(pem, strlen(pem), &csr, info);
    if (e == ERR_OK)
        (void)text_copy(ret_public_key, SHA256_HEX, csr_public_key(csr));
    else
        assert_null(csr);
    csr_free(csr);
    return e;
}

static void assert_refused(const char *pem, const char *why)
{
    struct err_info info;
    char public_key[SHA256_HEX];
    assert_int_equal(parse(pem, public_key, &info), ERR_INVALID);
    assert_string_equal(info.code, "csr_invalid");
    assert_string_equal(info.field, "csr");
    if (strstr(info.text, why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", info.text, why);
}

static void assert_key_accepted(EVP_PKEY *key)
{
    struct err_info info;
    char public_key[SHA256_HEX] = "";
    cleanup_free char *pem = request_pem(key, key, "whoever");
    assert_int_equal(parse(pem, public_key, &info), ERR_OK);
    assert_true(text_is_sha256(public_key));
    EVP_PKEY_free(key);
}

static void assert_key_refused(EVP_PKEY *key)
{
    cleanup_free char *pem = request_pem(key, key, "whoever");
    assert_refused(pem, "the key must be");
    EVP_PKEY_free(key);
}

static void accepts_four_kinds_of_keys(void **state)
{
    (void)state;
    assert_key_accepted(EVP_EC_gen("P-256"));
    assert_key_accepted(EVP_EC_gen("P-384"));
    assert_key_accepted(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"));
    assert_key_accepted(EVP_RSA_gen(2048));
}

static void refuses_weak_and_strange_keys(void **state)
{
    (void)state;
    assert_key_refused(EVP_EC_gen("secp192k1"));
    assert_key_refused(EVP_EC_gen("secp256k1"));
    assert_key_refused(EVP_EC_gen("P-521"));
    assert_key_refused(EVP_RSA_gen(1024));
}

/* A P-256 key that spells its curve out instead of naming it. */
static void refuses_explicit_curve_parameters(void **state)
{
    (void)state;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    assert_int_equal(EVP_PKEY_set_utf8_string_param(key, "encoding", "explicit"), 1);
    assert_key_refused(key);
}

static void public_key_tells_keys_apart(void **state)
{
    (void)state;
    struct err_info info;
    char first[SHA256_HEX];
    char again[SHA256_HEX];
    char other[SHA256_HEX];
    cleanup_key EVP_PKEY *a = EVP_EC_gen("P-256");
    cleanup_key EVP_PKEY *b = EVP_EC_gen("P-256");
    cleanup_free char *pem_a = request_pem(a, a, "one");
    cleanup_free char *pem_a2 = request_pem(a, a, "two");
    cleanup_free char *pem_b = request_pem(b, b, "one");
    assert_int_equal(parse(pem_a, first, &info), ERR_OK);
    assert_int_equal(parse(pem_a2, again, &info), ERR_OK);
    assert_int_equal(parse(pem_b, other, &info), ERR_OK);
    assert_string_equal(first, again);
    assert_string_not_equal(first, other);
}

static void refuses_another_keys_signature(void **state)
{
    (void)state;
    cleanup_key EVP_PKEY *mine = EVP_EC_gen("P-256");
    cleanup_key EVP_PKEY *theirs = EVP_EC_gen("P-256");
    cleanup_free char *pem = request_pem(theirs, mine, "not mine");
    assert_refused(pem, "not signed by the key");
}

/* Whatever byte of it changes, a request is refused. */
static void refuses_any_changed_byte(void **state)
{
    (void)state;
    cleanup_key EVP_PKEY *key = EVP_EC_gen("P-256");
    cleanup_free char *pem = request_pem(key, key, "device");
    char original[SHA256_HEX];
    struct err_info info;
    assert_int_equal(parse(pem, original, &info), ERR_OK);
    char *begin = strchr(pem, '\n') + 1;
    char *end = strstr(pem, "-----END");
    assert_non_null(end);
    size_t accepted = 0;
    for (char *p = begin; p < end; p++) {
        if (*p == '\n' || *p == '=')
            continue;
        char was = *p;
        char public_key[SHA256_HEX];
        *p = was == 'A' ? 'B' : 'A';
        if (parse(pem, public_key, &info) == ERR_OK)
            accepted++;
        *p = was;
    }
    assert_int_equal(accepted, 0);
}

static void refuses_what_is_not_a_request(void **state)
{
    (void)state;
    cleanup_pki_kit struct pki_kit kit;
    pki_kit_start(&kit);
    assert_refused("", "not a PEM certificate request");
    assert_refused("hello", "not a PEM certificate request");
    assert_refused(pki_server_ca_pem(kit.pki), "not a PEM certificate request");
    assert_refused("-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n", "not a PEM");
    assert_refused("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "not a PEM");
    /* An encrypted one must not make the server ask its terminal for a password. */
    assert_refused("-----BEGIN CERTIFICATE REQUEST-----\nProc-Type: 4,ENCRYPTED\n"
                   "DEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\nAAAAAAAAAAAAAAAAAAAAAA==\n"
                   "-----END CERTIFICATE REQUEST-----\n",
                   "not a PEM");
}

static void refuses_huge_input(void **state)
{
    (void)state;
    char *huge = malloc(CSR_PEM_MAX + 2);
    assert_non_null(huge);
    memset(huge, 'A', CSR_PEM_MAX + 1);
    huge[CSR_PEM_MAX + 1] = '\0';
    assert_refused(huge, "larger than 16 KiB");
    huge[CSR_PEM_MAX] = '\0';
    assert_refused(huge, "not a PEM");
    free(huge);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_four_kinds_of_keys),        cmocka_unit_test(refuses_weak_and_strange_keys),
        cmocka_unit_test(refuses_explicit_curve_parameters), cmocka_unit_test(public_key_tells_keys_apart),
        cmocka_unit_test(refuses_another_keys_signature),    cmocka_unit_test(refuses_any_changed_byte),
        cmocka_unit_test(refuses_what_is_not_a_request),     cmocka_unit_test(refuses_huge_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
