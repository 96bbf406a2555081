/* server/core/broker_list: the setting `brokers`. */

#include "server/core/broker_list.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void assert_parses(const char *text, const char *json)
{
    json_t *list = NULL;
    assert_int_equal(broker_list_parse(text, &list, NULL), ERR_OK);
    char *printed = json_dumps(list, JSON_COMPACT);
    assert_string_equal(printed, json);
    free(printed);
    json_decref(list);
}

static void reads_hosts_and_addresses(void **state)
{
    (void)state;
    assert_parses("broker:8883", "[{\"host\":\"broker\",\"port\":8883}]");
    assert_parses("a.b:1,10.0.0.1:65535", "[{\"host\":\"a.b\",\"port\":1},{\"host\":\"10.0.0.1\",\"port\":65535}]");
    assert_parses("[2001:db8::1]:8883", "[{\"host\":\"2001:db8::1\",\"port\":8883}]");
}

static void refuses_everything_else(void **state)
{
    (void)state;
    static const char *const bad[] = {"",        ",",    "a",     "a:",     ":1",       "a:0",
                                      "a:65536", "a:1,", "a: 1",  "a b:1",  "::1:883",  "[]:1",
                                      "[:1",     "a:-1", "a:1;b", "a:1,,b", "[::1]]:1", "a]:1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        json_t *list = NULL;
        struct err_info info = {0};
        assert_int_equal(broker_list_parse(bad[i], &list, &info), ERR_INVALID);
        assert_null(list);
        assert_string_equal(info.field, "brokers");
    }
    char many[17 * 4 + 1] = "";
    for (size_t i = 0; i < 17; i++)
        (void)snprintf(many + i * 4, 5, "a:1,");
    many[17 * 4 - 1] = '\0';
    json_t *list = NULL;
    assert_int_equal(broker_list_parse(many, &list, NULL), ERR_INVALID);
    many[16 * 4 - 1] = '\0';
    assert_int_equal(broker_list_parse(many, &list, NULL), ERR_OK);
    json_decref(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_hosts_and_addresses),
        cmocka_unit_test(refuses_everything_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
