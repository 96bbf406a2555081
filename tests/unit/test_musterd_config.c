/* server/config: what single values cannot say. */

#include "common/base/cleanup.h"
#include "server/config.h"
#include "tests/unit/unit.h"

#include <string.h>

static struct conf *load(const char *flag)
{
    char *argv[] = {(char *)"musterd", (char *)"--config=/dev/null", (char *)flag, NULL};
    struct conf *conf = NULL;
    int rest = 0;
    char ask = 0;
    struct err_info info = {0};
    assert_int_equal(conf_load(&config_musterd, flag == NULL ? 2 : 3, argv, &conf, &rest, &ask, &info), ERR_OK);
    return conf;
}

static void assert_refused(const char *flag, const char *field)
{
    struct conf *conf = load(flag);
    struct err_info info = {0};
    assert_int_equal(config_check(conf, &info), ERR_INVALID);
    assert_string_equal(info.field, field);
    assert_non_null(strstr(info.text, field));
    conf_free(conf);
}

static void the_defaults_are_good(void **state)
{
    (void)state;
    struct conf *conf = load(NULL);
    struct err_info info = {0};
    enum log_level level = LOG_ERROR_;
    assert_int_equal(config_check(conf, &info), ERR_OK);
    assert_int_equal(config_log_level(conf, &level, &info), ERR_OK);
    assert_int_equal(level, LOG_INFO_);
    conf_free(conf);
}

static void values_that_do_not_fit_together_are_named(void **state)
{
    (void)state;
    assert_refused("--device-port=8443", "device_port");
    assert_refused("--session-max-s=600", "session_idle_s");
    assert_refused("--brokers=host", "brokers");
    assert_refused("--brokers=host:0", "brokers");
    assert_refused("--brokers=a:1,,b:2", "brokers");
}

static void unknown_log_levels_are_refused(void **state)
{
    (void)state;
    struct conf *conf = load("--log-level=loud");
    struct err_info info = {0};
    enum log_level level = LOG_WARN_;
    assert_int_equal(config_log_level(conf, &level, &info), ERR_INVALID);
    assert_int_equal(level, LOG_WARN_);
    assert_string_equal(info.field, "log_level");
    conf_free(conf);
}

static void devices_are_told_the_brokers_that_are_set(void **state)
{
    (void)state;
    struct conf *conf = load("--brokers=a.example:8883,b.example:1883");
    cleanup_free char *brokers = NULL;
    assert_int_equal(config_brokers(conf, &brokers), ERR_OK);
    assert_string_equal(brokers, "a.example:8883,b.example:1883");
    conf_free(conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_defaults_are_good), cmocka_unit_test(values_that_do_not_fit_together_are_named),
        cmocka_unit_test(unknown_log_levels_are_refused), cmocka_unit_test(devices_are_told_the_brokers_that_are_set)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
