/* server/http/url: paths and queries from the raw bytes of a request line. */

#include "server/http/url.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

static enum err parse(const char *raw, struct url_path *path, struct err_info *info)
{
    return url_path_parse(raw, strlen(raw), path, info);
}

static void assert_bad_path(const char *raw)
{
    struct url_path path = {.count = 77};
    struct err_info info = {0};
    assert_int_equal(parse(raw, &path, &info), ERR_INVALID);
    assert_string_equal(info.code, "bad_path");
    assert_int_equal(path.count, 77); /* untouched */
}

static void paths_are_split_then_decoded(void **state)
{
    (void)state;
    struct url_path path = {0};
    assert_int_equal(parse("/api/v1/devices/caf%C3%A9%20a+b", &path, NULL), ERR_OK);
    assert_int_equal(path.count, 4);
    assert_string_equal(path.segments[0], "api");
    assert_string_equal(path.segments[3], "caf\xc3\xa9 a+b"); /* '+' is a blank in a query only */
    url_path_clear(&path);
    assert_int_equal(parse("/", &path, NULL), ERR_OK);
    assert_int_equal(path.count, 0);
    url_path_clear(&path);
}

static void a_decoded_percent_is_not_decoded_again(void **state)
{
    (void)state;
    struct url_path path = {0};
    assert_int_equal(parse("/a%252Fb", &path, NULL), ERR_OK);
    assert_string_equal(path.segments[0], "a%2Fb");
    url_path_clear(&path);
}

static void bad_paths_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",      "a",       "http://x/a", "//",      "/a//b",     "/a/",
                                      "/.",    "/a/..",   "/%2e",       "/%2E%2e", "/a%2Fb",    "/a%2fb",
                                      "/%00",  "/a%00b",  "/%0a",       "/%7f",    "/%",        "/%4",
                                      "/a%zz", "/%c3%28", "/%ff",       "/\xff",   "/%ed%a0%80"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_bad_path(bad[i]);
}

static void only_the_given_bytes_are_read(void **state)
{
    (void)state;
    struct url_path path = {0};
    assert_int_equal(url_path_parse("/a%41?b", 3, &path, NULL), ERR_INVALID); /* the escape is cut */
    assert_int_equal(url_path_parse("/a?b=/c", 2, &path, NULL), ERR_OK);
    assert_int_equal(path.count, 1);
    assert_string_equal(path.segments[0], "a");
    url_path_clear(&path);
}

static void too_many_segments_are_nowhere(void **state)
{
    (void)state;
    struct url_path path = {0};
    assert_int_equal(parse("/1/2/3/4/5/6/7/8/9/10/11/12", &path, NULL), ERR_OK);
    url_path_clear(&path);
    assert_int_equal(parse("/1/2/3/4/5/6/7/8/9/10/11/12/13", &path, NULL), ERR_NOT_FOUND);
}

static void queries_are_decoded(void **state)
{
    (void)state;
    struct url_query query = {0};
    assert_int_equal(
        url_query_parse("q=site%3Aberlin-*+-tag%3Alab&limit=5&empty=&flag&&path=a%2Fb%3Dc=d", &query, NULL), ERR_OK);
    assert_int_equal(query.count, 5);
    assert_string_equal(url_query_get(&query, "q"), "site:berlin-* -tag:lab");
    assert_string_equal(url_query_get(&query, "limit"), "5");
    assert_string_equal(url_query_get(&query, "empty"), "");
    assert_string_equal(url_query_get(&query, "flag"), "");
    assert_string_equal(url_query_get(&query, "path"), "a/b=c=d");
    assert_null(url_query_get(&query, "none"));
    url_query_clear(&query);
    assert_int_equal(url_query_parse("", &query, NULL), ERR_OK);
    assert_int_equal(query.count, 0);
    url_query_clear(&query);
}

static void one_letter_names_without_values_fit(void **state)
{
    (void)state;
    struct url_query query = {0};
    assert_int_equal(url_query_parse("a&b&c&d&e", &query, NULL), ERR_OK);
    assert_int_equal(query.count, 5);
    assert_string_equal(url_query_get(&query, "e"), "");
    url_query_clear(&query);
}

static void bad_queries_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"a=1&a=2", "a=1&%61=2", "=1",  "&=",    "a=%00",
                                      "a=%",     "a=%4",      "%=1", "a=%ff", "a=%0A"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct url_query query = {.count = 77};
        struct err_info info = {0};
        assert_int_equal(url_query_parse(bad[i], &query, &info), ERR_INVALID);
        assert_string_equal(info.code, "bad_query");
        assert_int_equal(query.count, 77);
    }
}

static void as_many_parameters_as_fit_and_no_more(void **state)
{
    (void)state;
    char text[512] = "";
    struct url_query query = {0};
    for (int i = 0; i < URL_PAIRS_MAX; i++)
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), "p%d=%d&", i, i);
    assert_int_equal(url_query_parse(text, &query, NULL), ERR_OK);
    assert_int_equal(query.count, URL_PAIRS_MAX);
    url_query_clear(&query);
    (void)snprintf(text + strlen(text), sizeof text - strlen(text), "more=1");
    assert_int_equal(url_query_parse(text, &query, NULL), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_are_split_then_decoded),
        cmocka_unit_test(a_decoded_percent_is_not_decoded_again),
        cmocka_unit_test(bad_paths_are_refused),
        cmocka_unit_test(only_the_given_bytes_are_read),
        cmocka_unit_test(too_many_segments_are_nowhere),
        cmocka_unit_test(queries_are_decoded),
        cmocka_unit_test(one_letter_names_without_values_fit),
        cmocka_unit_test(bad_queries_are_refused),
        cmocka_unit_test(as_many_parameters_as_fit_and_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
