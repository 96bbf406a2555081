/* server/http/problem: every error has a status and a document, and the inside of the server stays inside. */

#include "common/base/cleanup.h"
#include "server/http/problem.h"
#include "tests/unit/unit.h"

#include <jansson.h>
#include <string.h>

static json_t *document(enum err e, const struct err_info *info)
{
    cleanup_free char *text = problem_print(e, info, "id-1");
    assert_non_null(text);
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(json);
    return json;
}

static const char *member(const json_t *json, const char *key)
{
    return json_string_value(json_object_get(json, key));
}

static void every_error_has_all_members(void **state)
{
    (void)state;
    for (enum err e = ERR_INVALID; e < ERR_COUNT_; e++) {
        const struct err_info info = {.offset = -1};
        json_auto_t *json = document(e, &info);
        json_int_t status = json_integer_value(json_object_get(json, "status"));
        assert_in_range(status, 400, 599);
        assert_int_equal(status, problem_status(e, &info));
        assert_string_equal(member(json, "code"), err_name(e));
        assert_string_equal(member(json, "request_id"), "id-1");
        assert_true(strlen(member(json, "title")) > 0);
        assert_true(strlen(member(json, "detail")) > 0);
        assert_int_equal(strncmp(member(json, "type"), "urn:muster:", 11), 0);
        assert_null(json_object_get(json, "field_errors"));
    }
}

static void statuses(void **state)
{
    (void)state;
    const struct err_info none = {.offset = -1};
    assert_int_equal(problem_status(ERR_INVALID, &none), 400);
    assert_int_equal(problem_status(ERR_UNAUTHENTICATED, &none), 401);
    assert_int_equal(problem_status(ERR_FORBIDDEN, &none), 403);
    assert_int_equal(problem_status(ERR_UNTRUSTED, &none), 422);
    assert_int_equal(problem_status(ERR_RATE, &none), 429);
    assert_int_equal(problem_status(ERR_UNAVAILABLE, &none), 503);
    assert_int_equal(problem_status(ERR_NO_SPACE, &none), 507);
    assert_int_equal(problem_status(ERR_COUNT_, &none), 500);
    assert_int_equal(problem_status(ERR_OK, &none), 500);
    struct err_info info;
    enum err e = err_code(&info, ERR_INVALID, "range_not_satisfiable", "x");
    assert_int_equal(problem_status(e, &info), 416);
}

static void a_field_is_named_with_its_offset(void **state)
{
    (void)state;
    struct err_info info;
    enum err e = err_field(&info, ERR_INVALID, "q", "unknown field \"colour\"");
    info.offset = 12;
    err_next(&info, "use one of these");
    json_auto_t *json = document(e, &info);
    const json_t *error = json_array_get(json_object_get(json, "field_errors"), 0);
    assert_string_equal(member(error, "field"), "q");
    assert_string_equal(member(error, "message"), "unknown field \"colour\"");
    assert_int_equal(json_integer_value(json_object_get(error, "offset")), 12);
    assert_string_equal(member(json, "next"), "use one of these");
}

static void an_offset_without_a_field_is_of_the_body(void **state)
{
    (void)state;
    struct err_info info;
    enum err e = err_code(&info, ERR_INVALID, "malformed_json", "not valid JSON");
    info.offset = 3;
    json_auto_t *json = document(e, &info);
    assert_string_equal(member(json_array_get(json_object_get(json, "field_errors"), 0), "field"), "body");
}

static void private_text_stays_in_the_log(void **state)
{
    (void)state;
    struct err_info info;
    const enum err inside[] = {err_set(&info, ERR_INTERNAL, "/secret/path"),
                               ERR_IO,
                               ERR_NO_MEMORY,
                               ERR_NO_SPACE,
                               ERR_TIMEOUT,
                               ERR_UNAVAILABLE};
    for (size_t i = 0; i < sizeof inside / sizeof inside[0]; i++) {
        assert_true(problem_is_private(inside[i], &info));
        json_auto_t *json = document(inside[i], &info);
        assert_null(strstr(member(json, "detail"), "secret"));
    }
    enum err e = err_code(&info, ERR_UNAVAILABLE, "database_unavailable", "connection to server at db.secret failed");
    assert_true(problem_is_private(e, &info));
    json_auto_t *away = document(e, &info);
    assert_null(strstr(member(away, "detail"), "secret"));
    assert_string_equal(member(away, "code"), "database_unavailable");
}

static void text_with_a_code_of_its_own_is_shown(void **state)
{
    (void)state;
    struct err_info info;
    enum err e = err_code(&info, ERR_UNAVAILABLE, "object_loading", "the object is still being read");
    assert_false(problem_is_private(e, &info));
    json_auto_t *json = document(e, &info);
    assert_string_equal(member(json, "detail"), "the object is still being read");
}

static void input_is_data_not_markup(void **state)
{
    (void)state;
    struct err_info info;
    enum err e = err_set(&info, ERR_NOT_FOUND, "no device \"</script><b>\x01\xff\"");
    cleanup_free char *text = problem_print(e, &info, "id");
    assert_non_null(text);
    assert_non_null(strstr(text, "\\\"</script>")); /* quoted JSON; sent as application/problem+json with nosniff */
    assert_null(strchr(text, 1));
    assert_null(strchr(text, (char)0xff));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_has_all_members),      cmocka_unit_test(statuses),
        cmocka_unit_test(a_field_is_named_with_its_offset), cmocka_unit_test(an_offset_without_a_field_is_of_the_body),
        cmocka_unit_test(private_text_stays_in_the_log),    cmocka_unit_test(text_with_a_code_of_its_own_is_shown),
        cmocka_unit_test(input_is_data_not_markup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
