/* server/http/header: what request headers mean. */

#include "server/http/header.h"
#include "tests/unit/unit.h"

static void ranges(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t size;
        enum header_range result;
        int64_t first, last;
    } cases[] = {
        {"bytes=0-0", 10, RANGE_PART, 0, 0},
        {"bytes=2-5", 10, RANGE_PART, 2, 5},
        {"bytes=2-", 10, RANGE_PART, 2, 9},
        {"bytes=-3", 10, RANGE_PART, 7, 9},
        {"bytes=-30", 10, RANGE_PART, 0, 9},
        {"bytes=5-99", 10, RANGE_PART, 5, 9},
        {"BYTES=1-2 ", 10, RANGE_PART, 1, 2},
        {"bytes=9-", 10, RANGE_PART, 9, 9},
        {"bytes=10-", 10, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=10-12", 10, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=-0", 10, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=0-", 0, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=-1", 0, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=5-2", 10, RANGE_ALL, 0, 0},
        {"bytes=0-1,3-4", 10, RANGE_ALL, 0, 0},
        {"bytes=", 10, RANGE_ALL, 0, 0},
        {"bytes=-", 10, RANGE_ALL, 0, 0},
        {"bytes=a-b", 10, RANGE_ALL, 0, 0},
        {"bytes=1", 10, RANGE_ALL, 0, 0},
        {"bytes=1-2x", 10, RANGE_ALL, 0, 0},
        {"bytes=--1", 10, RANGE_ALL, 0, 0},
        {"bytes=+1-2", 10, RANGE_ALL, 0, 0},
        {"bytes=9999999999999999999-", 10, RANGE_ALL, 0, 0}, /* past 63 bits */
        {"bytes=0-9999999999999999999999", 10, RANGE_ALL, 0, 0},
        {"lines=0-1", 10, RANGE_ALL, 0, 0},
        {"", 10, RANGE_ALL, 0, 0},
        {NULL, 10, RANGE_ALL, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t first = -7;
        int64_t last = -7;
        assert_int_equal(header_range(cases[i].text, cases[i].size, &first, &last), cases[i].result);
        assert_int_equal(first, cases[i].result == RANGE_PART ? cases[i].first : -7);
        assert_int_equal(last, cases[i].result == RANGE_PART ? cases[i].last : -7);
    }
}

static void content_ranges(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "bytes",
                                      "bytes 0-9",
                                      "bytes 0-9/",
                                      "bytes 0-9/*",
                                      "bytes */10",
                                      "bytes 9-0/10",
                                      "bytes 0-10/10",
                                      "bytes 0-9/10 ",
                                      "bytes 0-9/10,",
                                      "bytes=0-9/10",
                                      "bytes -1-9/10",
                                      "bytes 0-9/99999999999999999999",
                                      "lines 0-9/10",
                                      "bytes 0--9/10",
                                      "bytes 0x0-9/10"};
    int64_t first = -7;
    int64_t last = -7;
    int64_t size = -7;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(header_content_range(bad[i], &first, &last, &size));
    assert_false(header_content_range(NULL, &first, &last, &size));
    assert_true(first == -7 && last == -7 && size == -7);
    assert_true(header_content_range("bytes 0-0/1", &first, &last, &size));
    assert_true(first == 0 && last == 0 && size == 1);
    assert_true(header_content_range("Bytes 5-9/4000000000000", &first, &last, &size));
    assert_true(first == 5 && last == 9 && size == 4000000000000);
}

static void entity_tags(void **state)
{
    (void)state;
    assert_true(header_names_etag("\"abc\"", "abc"));
    assert_true(header_names_etag("W/\"abc\"", "abc"));
    assert_true(header_names_etag(" \"x\" ,\t\"abc\" ", "abc"));
    assert_true(header_names_etag("*", "abc"));
    assert_false(header_names_etag("\"abcd\"", "abc"));
    assert_false(header_names_etag("abc", "abc"));
    assert_false(header_names_etag("\"ab\"", "abc"));
    assert_false(header_names_etag("\"", "abc"));
    assert_false(header_names_etag("W/", "abc"));
    assert_false(header_names_etag("", "abc"));
    assert_false(header_names_etag(NULL, "abc"));
    assert_true(header_if_range(NULL, "abc"));
    assert_true(header_if_range("\"abc\"", "abc"));
    assert_false(header_if_range("W/\"abc\"", "abc")); /* weak tags do not join bytes */
    assert_false(header_if_range("Sat, 21 Nov 2026 11:43:07 GMT", "abc"));
}

static void accepted_entries(void **state)
{
    (void)state;
    assert_true(header_accepts("gzip, deflate, br", "br"));
    assert_true(header_accepts("GZIP;q=0.5", "gzip"));
    assert_true(header_accepts("br;q=1.000", "br"));
    assert_false(header_accepts("br;q=0", "br"));
    assert_false(header_accepts("br; q=0.000, gzip", "br"));
    assert_true(header_accepts("br;q=0, gzip", "gzip"));
    assert_true(header_accepts("br;seq=0", "br"));
    assert_false(header_accepts("brotli", "br"));
    assert_false(header_accepts("b", "br"));
    assert_false(header_accepts("", "br"));
    assert_false(header_accepts(NULL, "br"));
    assert_true(header_accepts("text/html,application/xhtml+xml,*/*;q=0.8", "text/html"));
    assert_false(header_accepts("*/*", "text/html")); /* who asks for anything gets no page in place of a file */
}

static void media_types(void **state)
{
    (void)state;
    assert_true(header_is_type("application/json", "application/json"));
    assert_true(header_is_type("Application/JSON; charset=utf-8", "application/json"));
    assert_true(header_is_type("application/json ;x=y", "application/json"));
    assert_false(header_is_type("application/json5", "application/json"));
    assert_false(header_is_type("application/jso", "application/json"));
    assert_false(header_is_type("text/plain, application/json", "application/json"));
    assert_false(header_is_type("", "application/json"));
    assert_false(header_is_type(NULL, "application/json"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(ranges), cmocka_unit_test(entity_tags),
                                       cmocka_unit_test(content_ranges), cmocka_unit_test(accepted_entries),
                                       cmocka_unit_test(media_types)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
