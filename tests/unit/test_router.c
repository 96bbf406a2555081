/* server/http/router: from method and path to a route. */

#include "server/http/router.h"
#include "tests/unit/unit.h"

#include <string.h>

static const struct route FIRST[] = {
    {"GET", "/api/v1/rollouts", PERMIT_READ, BODY_NONE, NULL},
    {"POST", "/api/v1/rollouts", PERMIT_ROLLOUT_WRITE, BODY_JSON, NULL},
    {"POST", "/api/v1/rollouts/{id}/{action}", PERMIT_READ, BODY_JSON, NULL},
    {"GET", "/api/v1/rollouts/{id}/devices", PERMIT_READ, BODY_NONE, NULL},
};
static const struct route SECOND[] = {
    {"GET", "/api/v1/rollouts/{id}", PERMIT_READ, BODY_NONE, NULL},
    {"GET", "/api/v1/rollouts/newest", PERMIT_READ, BODY_NONE, NULL},
};
static const struct route_table TABLE_1 = {FIRST, sizeof FIRST / sizeof FIRST[0]};
static const struct route_table TABLE_2 = {SECOND, sizeof SECOND / sizeof SECOND[0]};
static const struct route_table *const TABLES[] = {&TABLE_1, &TABLE_2};

static enum err find(const char *method, const char *raw, struct route_match *match, struct url_path *path)
{
    assert_int_equal(url_path_parse(raw, strlen(raw), path, NULL), ERR_OK);
    return router_match(TABLES, 2, method, path, match, NULL);
}

static void assert_route(const char *method, const char *raw, const struct route *route)
{
    struct route_match match = {0};
    struct url_path path;
    assert_int_equal(find(method, raw, &match, &path), ERR_OK);
    assert_ptr_equal(match.route, route);
    url_path_clear(&path);
}

static void assert_refused(const char *method, const char *raw, enum err e, const char *allow)
{
    struct route_match match = {0};
    struct url_path path;
    assert_int_equal(find(method, raw, &match, &path), e);
    assert_string_equal(match.allow, allow);
    assert_null(match.route);
    url_path_clear(&path);
}

static void routes_are_found_in_every_table(void **state)
{
    (void)state;
    assert_route("GET", "/api/v1/rollouts", &FIRST[0]);
    assert_route("POST", "/api/v1/rollouts", &FIRST[1]);
    assert_route("GET", "/api/v1/rollouts/7", &SECOND[0]);
    assert_route("POST", "/api/v1/rollouts/7/pause", &FIRST[2]);
    assert_route("GET", "/api/v1/rollouts/7/devices", &FIRST[3]);
    assert_refused("GET", "/", ERR_NOT_FOUND, "");
}

static void a_literal_wins_over_a_name(void **state)
{
    (void)state;
    assert_route("GET", "/api/v1/rollouts/newest", &SECOND[1]);
    assert_route("POST", "/api/v1/rollouts/7/devices", &FIRST[2]); /* the literal one takes GET only */
}

static void head_takes_the_route_of_get(void **state)
{
    (void)state;
    assert_route("HEAD", "/api/v1/rollouts/7", &SECOND[0]);
    assert_refused("HEAD", "/api/v1/rollouts/7/pause", ERR_METHOD, "POST");
}

static void names_give_decoded_segments(void **state)
{
    (void)state;
    struct route_match match = {0};
    struct url_path path;
    assert_int_equal(find("POST", "/api/v1/rollouts/a%20b/roll%2Dback", &match, &path), ERR_OK);
    assert_string_equal(route_match_get(&match, "id"), "a b");
    assert_string_equal(route_match_get(&match, "action"), "roll-back");
    assert_string_equal(route_match_get(&match, "i"), "");
    assert_string_equal(route_match_get(&match, "idx"), "");
    url_path_clear(&path);
}

static void wrong_methods_say_which_are_right(void **state)
{
    (void)state;
    assert_refused("DELETE", "/api/v1/rollouts", ERR_METHOD, "GET, POST, HEAD");
    assert_refused("PUT", "/api/v1/rollouts/newest", ERR_METHOD, "GET, HEAD");
    assert_refused("get", "/api/v1/rollouts", ERR_METHOD, "GET, POST, HEAD");
}

static void unknown_paths_are_not_found(void **state)
{
    (void)state;
    assert_refused("GET", "/api/v1", ERR_NOT_FOUND, "");
    assert_refused("GET", "/api/v1/rollout", ERR_NOT_FOUND, "");
    assert_refused("GET", "/api/v1/rolloutss", ERR_NOT_FOUND, "");
    assert_refused("GET", "/API/v1/rollouts", ERR_NOT_FOUND, "");
    assert_refused("GET", "/api/v1/rollouts/7/devices/8", ERR_NOT_FOUND, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(routes_are_found_in_every_table),   cmocka_unit_test(a_literal_wins_over_a_name),
        cmocka_unit_test(head_takes_the_route_of_get),       cmocka_unit_test(names_give_decoded_segments),
        cmocka_unit_test(wrong_methods_say_which_are_right), cmocka_unit_test(unknown_paths_are_not_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
