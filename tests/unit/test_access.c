/* server/core/access: the whole table, role by role. */

#include "server/core/access.h"
#include "tests/unit/unit.h"

#include <string.h>

static void rights_of_people(void **state)
{
    (void)state;
    /* viewer, operator, releaser, admin */
    static const bool expected[PERMIT_COUNT_][ROLE_COUNT_] = {
        [PERMIT_ANYONE] = {true, true, true, true},         [PERMIT_READ] = {true, true, true, true},
        [PERMIT_DEVICE_HOLD] = {false, true, true, true},   [PERMIT_ALERT_ACK] = {false, true, true, true},
        [PERMIT_ROLLOUT_PAUSE] = {false, true, true, true}, [PERMIT_ROLLOUT_WRITE] = {false, false, true, true},
        [PERMIT_BUNDLE_WRITE] = {false, false, true, true}, [PERMIT_ACCESS_ADMIN] = {false, false, false, true},
        [PERMIT_TOKEN_WRITE] = {false, false, false, true}, [PERMIT_DEVICE_SELF] = {false, false, false, false},
    };
    for (enum permission p = 0; p < PERMIT_COUNT_; p++)
        for (enum role role = 0; role < ROLE_COUNT_; role++)
            assert_int_equal(access_allows((struct grant){.role = role}, p), expected[p][role]);
}

static void tokens_have_the_same_rights_but_for_tokens(void **state)
{
    (void)state;
    for (enum permission p = 0; p < PERMIT_COUNT_; p++)
        for (enum role role = 0; role < ROLE_COUNT_; role++) {
            bool person = access_allows((struct grant){.role = role}, p);
            bool token = access_allows((struct grant){.role = role, .is_token = true}, p);
            assert_int_equal(token, person && p != PERMIT_TOKEN_WRITE);
        }
}

static void names(void **state)
{
    (void)state;
    for (enum role role = 0; role < ROLE_COUNT_; role++) {
        enum role parsed = ROLE_COUNT_;
        assert_int_equal(access_role_parse(access_role_name(role), &parsed, NULL), ERR_OK);
        assert_int_equal(parsed, role);
    }
    enum role untouched = ROLE_OPERATOR;
    struct err_info info;
    assert_int_equal(access_role_parse("root", &untouched, &info), ERR_INVALID);
    assert_int_equal(access_role_parse("", &untouched, &info), ERR_INVALID);
    assert_int_equal(access_role_parse("Admin", &untouched, &info), ERR_INVALID);
    assert_int_equal(untouched, ROLE_OPERATOR);
    assert_string_equal(info.field, "role");
    assert_string_equal(access_permission_name(PERMIT_ROLLOUT_PAUSE), "rollout.pause");
    assert_null(access_permission_name(PERMIT_ANYONE));
    assert_null(access_permission_name(PERMIT_DEVICE_SELF));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(rights_of_people),
                                       cmocka_unit_test(tokens_have_the_same_rights_but_for_tokens),
                                       cmocka_unit_test(names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
