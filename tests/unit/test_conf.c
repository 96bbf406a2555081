/* common/base/conf: precedence of file, environment and flags, and what errors say. */

#include "common/base/conf.h"
#include "common/base/file.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct conf_option options[] = {
    {"port", CONF_INT, "8443", 1, 65535, "port to listen on"},
    {"beat_s", CONF_NUMBER, "30", 0.5, 3600, "seconds between beats"},
    {"verbose", CONF_BOOL, "false", 0, 0, "say more"},
    {"name", CONF_TEXT, NULL, 0, 0, "name of the device"},
    {"folder", CONF_PATH, "", 0, 0, "where things are"},
};
static const struct conf_program program = {"conf-test", "conf-test [OPTIONS]", "A test.", options, 5};

struct loaded {
    enum err error;
    struct conf *conf;
    int rest;
    char ask;
    struct err_info info;
};

/* Loads with a file of the given content; further words are flags. */
static struct loaded load(const char *file, int count, const char *const *words)
{
    static char path[] = "/tmp/muster-conf-test.conf";
    char *argv[12] = {(char *)"conf-test", (char *)"--config", path};
    assert_int_equal(file_write(path, file, strlen(file), 0600), ERR_OK);
    for (int i = 0; i < count; i++)
        argv[3 + i] = (char *)words[i];
    struct loaded l = {0};
    l.error = conf_load(&program, 3 + count, argv, &l.conf, &l.rest, &l.ask, &l.info);
    (void)unlink(path);
    return l;
}

static void flags_win_over_environment_over_file(void **state)
{
    (void)state;
    assert_int_equal(setenv("CONF_TEST_BEAT_S", "7", 1), 0);
    struct loaded l = load("# comment\nport = 1\nbeat_s = 5\nname = from file\n", 4,
                           (const char *const[]){"--port", "3", "--verbose", "serve"});
    assert_int_equal(unsetenv("CONF_TEST_BEAT_S"), 0);
    assert_int_equal(l.error, ERR_OK);
    assert_int_equal(conf_int(l.conf, "port"), 3);
    assert_true(conf_number(l.conf, "beat_s") == 7);
    assert_string_equal(conf_text(l.conf, "name"), "from file");
    assert_string_equal(conf_text(l.conf, "folder"), "");
    assert_true(conf_bool(l.conf, "verbose"));
    assert_int_equal(l.rest, 6); /* "serve" */
    conf_free(l.conf);
}

static void equals_form_and_double_dash(void **state)
{
    (void)state;
    struct loaded l = load("", 4, (const char *const[]){"--name=x=y", "--beat-s=1.5", "--", "--not-a-flag"});
    assert_int_equal(l.error, ERR_OK);
    assert_string_equal(conf_text(l.conf, "name"), "x=y");
    assert_true(conf_number(l.conf, "beat_s") == 1.5);
    assert_int_equal(l.rest, 6);
    conf_free(l.conf);
}

static void errors_name_key_and_source(void **state)
{
    (void)state;
    static const struct {
        const char *file, *flag, *value, *expected;
    } cases[] = {
        {"prot = 1\nname = x\n", NULL, NULL, "unknown key \"prot\""},
        {"port = eighty\nname = x\n", NULL, NULL, "/tmp/muster-conf-test.conf: port = \"eighty\""},
        {"port = 70000\nname = x\n", NULL, NULL, "from 1 to 65535"},
        {"verbose = maybe\nname = x\n", NULL, NULL, "true or false"},
        {"[section]\nname = x\n", NULL, NULL, "[section]"},
        {"port = 1\n", NULL, NULL, "name is not set"},
        {"name = x\nnonsense\n", NULL, NULL, "line 2"},
        {"name = x\n", "--colour", "red", "unknown flag \"--colour\""},
        {"name = x\n", "--beat-s", "soon", "--beat-s: beat_s = \"soon\""},
        {"name = x\n", "--port", NULL, "needs a value"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int count = cases[i].flag == NULL ? 0 : cases[i].value == NULL ? 1 : 2;
        struct loaded l = load(cases[i].file, count, (const char *const[]){cases[i].flag, cases[i].value});
        assert_int_equal(l.error, ERR_INVALID);
        if (strstr(l.info.text, cases[i].expected) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", l.info.text, cases[i].expected);
    }
}

static void a_named_file_must_exist(void **state)
{
    (void)state;
    char *argv[] = {(char *)"conf-test", (char *)"--config=/nowhere/x.conf", NULL};
    struct conf *conf = NULL;
    int rest = 0;
    char ask = 0;
    struct err_info info;
    assert_int_equal(conf_load(&program, 2, argv, &conf, &rest, &ask, &info), ERR_NOT_FOUND);
    assert_non_null(strstr(info.text, "/nowhere/x.conf"));
}

static void help_needs_no_settings(void **state)
{
    (void)state;
    char *argv[] = {(char *)"conf-test", (char *)"--port", (char *)"1", (char *)"--help", NULL};
    struct conf *conf = NULL;
    int rest = 0;
    char ask = 0;
    assert_int_equal(conf_load(&program, 4, argv, &conf, &rest, &ask, NULL), ERR_OK);
    assert_int_equal(ask, 'h');
    conf_free(conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_win_over_environment_over_file),
        cmocka_unit_test(equals_form_and_double_dash),
        cmocka_unit_test(errors_name_key_and_source),
        cmocka_unit_test(a_named_file_must_exist),
        cmocka_unit_test(help_needs_no_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
