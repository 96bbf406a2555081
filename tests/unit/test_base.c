/* common/base: numbers, encodings, buffers, JSON at the edge, files. */

#include "common/base/buf.h"
#include "common/base/crypt.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void numbers_are_strict(void **state)
{
    (void)state;
    int64_t value = 77;
    assert_int_equal(text_to_i64("-9223372036854775808", INT64_MIN, INT64_MAX, &value), ERR_OK);
    assert_true(value == INT64_MIN);
    static const char *const bad[] = {"", " 1", "1 ", "+1", "0x10", "1.0", "9223372036854775808", "--1", "-", NULL};
    value = 77;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(text_to_i64(bad[i], INT64_MIN, INT64_MAX, &value), ERR_INVALID);
        assert_int_equal(value, 77);
    }
    assert_int_equal(text_to_i64("11", 0, 10, &value), ERR_INVALID);
    double number = 0;
    assert_int_equal(text_to_f64("2.5e1", 0, 100, &number), ERR_OK);
    assert_true(number == 25.0);
    static const char *const bad_numbers[] = {"", "nan", "inf", "0x1p3", "1,5", "1.5x", "+1"};
    for (size_t i = 0; i < sizeof bad_numbers / sizeof bad_numbers[0]; i++)
        assert_int_equal(text_to_f64(bad_numbers[i], -1e9, 1e9, &number), ERR_INVALID);
}

static void encodings(void **state)
{
    (void)state;
    uint8_t bytes[4] = {0x00, 0x7f, 0x80, 0xff};
    char hex[9];
    text_hex(bytes, sizeof bytes, hex);
    assert_string_equal(hex, "007f80ff");
    uint8_t back[4];
    assert_int_equal(text_unhex("007F80ff", 4, back), ERR_OK);
    assert_memory_equal(back, bytes, 4);
    assert_int_equal(text_unhex("007f80f", 4, back), ERR_INVALID);
    assert_int_equal(text_unhex("007f80fg", 4, back), ERR_INVALID);
    char base32[16];
    text_base32((const uint8_t *)"foobar", 6, base32); /* RFC 4648, section 10 */
    assert_string_equal(base32, "mzxw6ytboi");
    uint8_t id[16] = {0};
    char name[32];
    text_base32(id, sizeof id, name);
    assert_int_equal(strlen(name), 26);
    char digest[SHA256_HEX];
    assert_int_equal(sha256_hex("abc", 3, digest), ERR_OK); /* FIPS 180-2, appendix B.1 */
    assert_string_equal(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_true(text_is_sha256(digest));
    digest[3] = 'A';
    assert_false(text_is_sha256(digest));
}

static void globs(void **state)
{
    (void)state;
    assert_true(text_glob("berlin-*", "berlin-gate-1"));
    assert_true(text_glob("*", ""));
    assert_true(text_glob("a*b*c", "a__b__b_c"));
    assert_false(text_glob("a*b*c", "a__b__b_"));
    assert_false(text_glob("", "x"));
    assert_false(text_glob("a?c", "abc"));
    char many[64] = "";
    for (int i = 0; i < 15; i++)
        strcat(many, "a*");
    assert_false(text_glob(many, "aaaaaaaaaaaaaa")); /* one short; must not take exponential time */
}

static void utf8(void **state)
{
    (void)state;
    assert_true(text_is_utf8("Größe €𝄞", strlen("Größe €𝄞")));
    static const char *const bad[] = {"\xff",     "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                                      "\xe2\x82", "a\x80"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(text_is_utf8(bad[i], strlen(bad[i])));
    assert_false(text_is_utf8("a\0b", 3));
}

static void what_is_shown_is_printable(void **state)
{
    (void)state;
    char text[] = "a\033[2J \xc3\xa9 \xc2\x9b \xff \xe2\x82"; /* an escape, e acute, a C1 control, not UTF-8, cut */
    text_printable(text);
    assert_string_equal(text, "a?[2J \xc3\xa9 ?? ? ??");
    struct err_info info;
    assert_int_equal(err_set(&info, ERR_INVALID, "name \"%s\"", "\r\n"), ERR_INVALID);
    assert_string_equal(info.text, "name \"??\"");
}

static void buffers_have_a_maximum(void **state)
{
    (void)state;
    cleanup_buf struct buf b = BUF_INIT(10);
    assert_int_equal(buf_addf(&b, "%s-%d", "abc", 42), ERR_OK);
    assert_string_equal(b.data, "abc-42");
    assert_int_equal(buf_add(&b, "12345", 5), ERR_TOO_LARGE);
    assert_string_equal(b.data, "abc-42");
    assert_int_equal(buf_add(&b, "1234", 4), ERR_OK);
    assert_int_equal(buf_add(&b, "", 0), ERR_OK);
    assert_int_equal(b.len, 10);
}

static enum err parse(const char *text, json_t **ret_json, struct err_info *info)
{
    return json_parse(text, strlen(text), JSON_BYTES_MAX, ret_json, info);
}

static void json_is_strict(void **state)
{
    (void)state;
    json_t *json = NULL;
    struct err_info info;
    static const char *const bad[] = {
        "", "{", "[1,]", "{\"a\":1,\"a\":2}", "{\"a\":\"\\u0000\"}", "\"text\"", "{}x", "{\"a\":\"\xff\"}", "nul"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(parse(bad[i], &json, &info), ERR_INVALID);
        assert_string_equal(info.code, "malformed_json");
    }
    char deep[200] = "";
    memset(deep, '[', 33);
    memset(deep + 33, ']', 33);
    assert_int_equal(parse(deep, &json, &info), ERR_INVALID);
    assert_int_equal(parse("{\"a\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"{{\"}", &json, &info), ERR_OK);
    json_decref(json);
    assert_int_equal(json_parse("{}", 2, 1, &json, &info), ERR_TOO_LARGE);
}

static void json_members_are_checked(void **state)
{
    (void)state;
    json_auto_t *json = NULL;
    struct err_info info;
    assert_int_equal(parse("{\"n\":5,\"s\":\"x\",\"id\":\"9007199254740993\",\"z\":null}", &json, &info), ERR_OK);
    int64_t n = 0;
    const char *s = NULL;
    assert_int_equal(json_get_i64(json, "n", 0, 5, &n, &info), ERR_OK);
    assert_int_equal(json_get_i64(json, "n", 0, 4, &n, &info), ERR_INVALID);
    assert_string_equal(info.field, "n");
    assert_int_equal(json_get_id(json, "id", 0, &n, &info), ERR_OK);
    assert_true(n == 9007199254740993);
    assert_int_equal(json_get_id(json, "n", 0, &n, &info), ERR_INVALID);
    assert_int_equal(json_get_text(json, "s", 0, &s, &info), ERR_INVALID);
    assert_int_equal(json_get_text(json, "missing", 9, &s, &info), ERR_INVALID);
    assert_string_equal(info.field, "missing");
    assert_false(json_has(json, "z"));
    assert_int_equal(json_only(json, (const char *const[]){"n", "s", "id", NULL}, &info), ERR_INVALID);
    assert_string_equal(info.code, "unknown_field");
    assert_string_equal(info.field, "z");
}

static void files_are_whole(void **state)
{
    (void)state;
    char folder[] = "/tmp/muster-base-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char path[64];
    char *text = NULL;
    size_t len = 0;
    (void)snprintf(path, sizeof path, "%s/a/b/c", folder);
    assert_int_equal(file_make_dirs(path, 0700), ERR_OK);
    assert_int_equal(file_make_dirs(path, 0700), ERR_OK);
    (void)snprintf(path, sizeof path, "%s/a/b/c/secret", folder);
    assert_int_equal(file_read(path, 10, &text, &len), ERR_NOT_FOUND);
    assert_int_equal(file_write(path, "12345", 5, 0600), ERR_OK);
    assert_int_equal(file_write(path, "1234567890", 10, 0600), ERR_OK);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(file_read(path, 9, &text, &len), ERR_TOO_LARGE);
    assert_int_equal(file_read(path, 10, &text, &len), ERR_OK);
    assert_string_equal(text, "1234567890");
    free(text);
    char link[64];
    (void)snprintf(link, sizeof link, "%s/a/link", folder);
    assert_int_equal(symlink("/etc", link), 0);
    assert_int_equal(file_remove_tree(folder), ERR_OK);
    assert_int_equal(file_remove_tree(folder), ERR_OK);
    assert_int_equal(access("/etc/passwd", F_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_strict),
        cmocka_unit_test(encodings),
        cmocka_unit_test(globs),
        cmocka_unit_test(utf8),
        cmocka_unit_test(what_is_shown_is_printable),
        cmocka_unit_test(buffers_have_a_maximum),
        cmocka_unit_test(json_is_strict),
        cmocka_unit_test(json_members_are_checked),
        cmocka_unit_test(files_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
