/* server/http: secrets, what headers show, and passwords. */

#include "server/http/credential.h"
#include "server/http/password.h"
#include "server/http/secret.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

static void secrets_are_long_recognisable_and_different(void **state)
{
    (void)state;
    struct secret a;
    struct secret b;
    uint8_t hash[SHA256_SIZE];
    assert_int_equal(secret_new(SECRET_API_TOKEN, SECRET_BYTES_MAX, &a), ERR_OK);
    assert_int_equal(secret_new(SECRET_API_TOKEN, SECRET_BYTES_MAX, &b), ERR_OK);
    assert_int_equal(strlen(a.text), 4 + 52); /* 256 bits, five a character */
    assert_int_equal(strncmp(a.text, "mst_", 4), 0);
    assert_string_not_equal(a.text, b.text);
    assert_int_equal(secret_hash(SECRET_API_TOKEN, a.text, hash), ERR_OK);
    assert_memory_equal(hash, a.hash, sizeof hash);
    assert_memory_not_equal(a.hash, b.hash, sizeof a.hash);
    assert_int_equal(secret_new(SECRET_API_TOKEN, SECRET_BYTES_MAX + 1, &a), ERR_INTERNAL);
}

static void foreign_text_is_no_secret(void **state)
{
    (void)state;
    uint8_t hash[SHA256_SIZE] = {7};
    char text[SECRET_TEXT_MAX + 1];
    memset(text, 'a', sizeof text);
    memcpy(text, "mst_", 4);
    text[SECRET_TEXT_MAX] = '\0';
    assert_int_equal(secret_hash(SECRET_API_TOKEN, text, hash), ERR_UNAUTHENTICATED);
    assert_int_equal(secret_hash(SECRET_API_TOKEN, "", hash), ERR_UNAUTHENTICATED);
    assert_int_equal(secret_hash(SECRET_API_TOKEN, "mss_abc", hash), ERR_UNAUTHENTICATED);
    assert_int_equal(hash[0], 7);
}

static void assert_shows(const char *authorization, const char *cookie, enum err e, int kind)
{
    struct credential credential = {.kind = CREDENTIAL_NONE};
    struct err_info info = {0};
    assert_int_equal(credential_read(authorization, cookie, &credential, &info), e);
    assert_int_equal(credential.kind, kind);
    if (e != ERR_OK)
        assert_string_equal(info.code, "credentials_invalid");
}

static void headers_show_a_token_or_a_session(void **state)
{
    (void)state;
    assert_shows(NULL, NULL, ERR_OK, CREDENTIAL_NONE);
    assert_shows(NULL, "", ERR_OK, CREDENTIAL_NONE);
    assert_shows("Bearer mst_abc", NULL, ERR_OK, CREDENTIAL_TOKEN);
    assert_shows("bearer mst_abc", NULL, ERR_OK, CREDENTIAL_TOKEN);
    assert_shows(NULL, "mss_abc", ERR_OK, CREDENTIAL_SESSION);
    assert_shows("Bearer mst_abc", "mss_abc", ERR_OK, CREDENTIAL_TOKEN);
    assert_shows("Bearer mss_abc", NULL, ERR_UNAUTHENTICATED, CREDENTIAL_NONE); /* a session is no token */
    assert_shows(NULL, "mst_abc", ERR_UNAUTHENTICATED, CREDENTIAL_NONE);
    assert_shows("Basic YTpi", NULL, ERR_UNAUTHENTICATED, CREDENTIAL_NONE);
    assert_shows("Basic YTpi", "mss_abc", ERR_UNAUTHENTICATED, CREDENTIAL_NONE);
    assert_shows("Bearer", NULL, ERR_UNAUTHENTICATED, CREDENTIAL_NONE);
    assert_shows("", NULL, ERR_UNAUTHENTICATED, CREDENTIAL_NONE);
}

static void passwords_are_right_or_wrong(void **state)
{
    (void)state;
    struct passwords *passwords = NULL;
    char hash[PASSWORD_HASH_SIZE];
    char other[PASSWORD_HASH_SIZE];
    bool right = false;
    assert_int_equal(passwords_new(&passwords), ERR_OK);
    assert_int_equal(passwords_hash(passwords, "correct horse", hash, NULL), ERR_OK);
    assert_int_equal(passwords_hash(passwords, "correct horse", other, NULL), ERR_OK);
    assert_string_not_equal(hash, other); /* salted */
    assert_int_equal(strncmp(hash, "$argon2id$v=19$m=47104,t=1,p=1$", 31), 0);
    assert_int_equal(passwords_verify(passwords, hash, "correct horse", &right, NULL), ERR_OK);
    assert_true(right);
    assert_int_equal(passwords_verify(passwords, hash, "correct horsf", &right, NULL), ERR_OK);
    assert_false(right);
    assert_int_equal(passwords_verify(passwords, NULL, "correct horse", &right, NULL), ERR_OK);
    assert_false(right);
    assert_int_equal(passwords_verify(passwords, "not a hash", "correct horse", &right, NULL), ERR_OK);
    assert_false(right);
    passwords_free(passwords);
}

static void one_time_passwords_are_words_of_five(void **state)
{
    (void)state;
    char a[PASSWORD_ONE_TIME_SIZE];
    char b[PASSWORD_ONE_TIME_SIZE];
    assert_int_equal(password_one_time(a), ERR_OK);
    assert_int_equal(password_one_time(b), ERR_OK);
    assert_int_equal(strlen(a), 23);
    assert_true(a[5] == '-' && a[11] == '-' && a[17] == '-');
    assert_int_equal(strspn(a, "abcdefghijklmnopqrstuvwxyz234567-"), 23);
    assert_string_not_equal(a, b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(secrets_are_long_recognisable_and_different), cmocka_unit_test(foreign_text_is_no_secret),
        cmocka_unit_test(headers_show_a_token_or_a_session),           cmocka_unit_test(passwords_are_right_or_wrong),
        cmocka_unit_test(one_time_passwords_are_words_of_five),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
