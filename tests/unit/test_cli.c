/* How musterctl reads its command line, from the tables that its help is printed from. */
#include "cli/api.h"
#include "cli/commands.h"
#include "cli/table.h"
#include "common/base/cleanup.h"
#include "common/base/text.h"
#include "tests/unit/unit.h"

#include <string.h>

enum { ARGS_MAX = 16 };

/* Splits a line into words, in place; returns their number. */
static int words(char *line, char **out)
{
    int n = 0;
    char *rest = NULL;
    for (char *word = strtok_r(line, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest))
        out[n++] = word;
    return n;
}

static enum err parse(struct cli *cli, char *line, bool *ret_help)
{
    char *argv[ARGS_MAX];
    *cli = (struct cli){.tables = command_tables};
    return command_parse(cli, words(line, argv), argv, ret_help);
}

static void cli_end(struct cli *cli)
{
    free(cli->given);
}

static void words_and_options(void **state)
{
    (void)state;
    [[gnu::cleanup(cli_end)]] struct cli cli;
    bool help = true;
    char line[] = "device hold edge-1 --reason=shift --expires-in 60";
    assert_int_equal(parse(&cli, line, &help), ERR_OK);
    assert_false(help);
    assert_string_equal(cli.command->name, "device hold");
    assert_int_equal(cli.word_count, 1);
    assert_string_equal(cli.words[0], "edge-1");
    assert_string_equal(option_text(&cli, "reason"), "shift");
    assert_int_equal(option_int(&cli, "expires-in", 0), 60);
    assert_null(option_text(&cli, "then"));
    assert_int_equal(option_int(&cli, "then", 7), 7);
}

static void lists_keep_their_order(void **state)
{
    (void)state;
    [[gnu::cleanup(cli_end)]] struct cli cli;
    bool help = true;
    char line[] = "rollout plan --bundle d@1.0.0 --all --wave 1 --wave 50% --wave 100%:soak=5";
    assert_int_equal(parse(&cli, line, &help), ERR_OK);
    assert_string_equal(option_item(&cli, "wave", 0), "1");
    assert_string_equal(option_item(&cli, "wave", 2), "100%:soak=5");
    assert_null(option_item(&cli, "wave", 3));
    assert_true(option_given(&cli, "all"));
    assert_false(option_given(&cli, "query"));
}

static void a_query_may_begin_with_minus(void **state)
{
    (void)state;
    [[gnu::cleanup(cli_end)]] struct cli cli;
    bool help = true;
    char line[] = "device list -name:edge-1 --limit 5 -- --odd";
    assert_int_equal(parse(&cli, line, &help), ERR_OK);
    assert_int_equal(cli.word_count, 2);
    assert_string_equal(cli.words[0], "-name:edge-1");
    assert_string_equal(cli.words[1], "--odd");
}

static void wrong_calls_are_usage_errors(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "nothing",
        "device",
        "device fly edge-1",
        "device show",
        "device show a b",
        "device hold a",                              /* --reason is missing */
        "device hold a --reason",                     /* without its value */
        "device hold a --reason x --reason y",        /* twice */
        "device hold a --reason x --expires-in soon", /* no number */
        "device hold a --reason x --expires-in 0",    /* below its range */
        "device hold a --reason x --colour blue",     /* no such option */
        "rollout plan --bundle b --all=yes",          /* a flag with a value */
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        [[gnu::cleanup(cli_end)]] struct cli cli;
        char line[128];
        bool help = false;
        (void)text_copy(line, sizeof line, wrong[i]);
        if (parse(&cli, line, &help) != ERR_INVALID || !cli.usage || cli.info.text[0] == '\0')
            fail_msg("\"%s\" is not refused as it should be", wrong[i]);
    }
}

static void help_needs_nothing_else(void **state)
{
    (void)state;
    [[gnu::cleanup(cli_end)]] struct cli cli;
    bool help = false;
    char one[] = "device hold --help";
    assert_int_equal(parse(&cli, one, &help), ERR_OK);
    assert_true(help);
    assert_string_equal(cli.command->name, "device hold");
    char group[] = "device --help";
    help = false;
    assert_int_equal(parse(&cli, group, &help), ERR_OK);
    assert_true(help);
    assert_null(cli.command);
}

static void settings_may_stand_anywhere(void **state)
{
    (void)state;
    char line[] = "musterctl device --output json list --token-file=t -x -- --server kept";
    char *argv[ARGS_MAX];
    char *out[ARGS_MAX + 1];
    static const char *const expected[] = {"musterctl", "--output", "json", "--token-file=t", "device",
                                           "list",      "-x",       "--",   "--server",       "kept"};
    int argc = words(line, argv);
    settings_first(argc, argv, out);
    for (int i = 0; i < argc; i++)
        assert_string_equal(out[i], expected[i]);
    assert_null(out[argc]);
    char command[] = "musterctl bundle create --version 1.0.0 --out x";
    argc = words(command, argv);
    settings_first(argc, argv, out);
    assert_string_equal(out[3], "--version"); /* the command's own, not the program's */
    assert_string_equal(out[5], "--out");
}

/* The tables themselves: what every command must have, so that help and manual can be trusted. */
static void every_command_is_whole(void **state)
{
    (void)state;
    for (const struct command *const *table = command_tables; *table != NULL; table++)
        for (const struct command *c = *table; c->name != NULL; c++) {
            if (c->run == NULL || c->summary == NULL || c->details == NULL || c->words == NULL)
                fail_msg("%s lacks something", c->name);
            if (strstr(c->examples, c->name) == NULL || c->words_min > c->words_max)
                fail_msg("%s: example or number of words", c->name);
            for (const struct option *o = c->options; o != NULL && o->name != NULL; o++)
                if (o->help == NULL || (o->kind == OPTION_FLAG) != (o->value == NULL) ||
                    (o->kind == OPTION_INT && o->min >= o->max))
                    fail_msg("%s --%s", c->name, o->name);
        }
}

static void paths_are_encoded(void **state)
{
    (void)state;
    struct api_path p = api_path("/api/v1/bundles/", "digits@1.0.0", "");
    assert_string_equal(p.text, "/api/v1/bundles/digits%401.0.0");
    p = api_path("/api/v1/devices/", "../me?x=1#", "/hold");
    assert_string_equal(p.text, "/api/v1/devices/..%2Fme%3Fx%3D1%23/hold");
    p = api_path("/api/v1/devices", NULL, "");
    api_query(&p, "q", "site:a b&c");
    api_query(&p, "limit", NULL);
    api_query(&p, "after", "x");
    assert_string_equal(p.text, "/api/v1/devices?q=site%3Aa%20b%26c&after=x");
    assert_false(p.bad);
    assert_true(api_path("/api/v1/devices/", "", "").bad);
    cleanup_free char *huge = calloc(1, API_PATH_MAX + 1);
    assert_non_null(huge);
    memset(huge, 'x', API_PATH_MAX);
    assert_true(api_path("/api/v1/devices/", huge, "").bad);
}

static void assert_cell(cell *show, json_t *value, const char *expected)
{
    cleanup_buf struct buf out = BUF_INIT(256);
    json_auto_t *owned = value;
    show(owned, &out);
    assert_string_equal(out.data, expected);
}

static void cells(void **state)
{
    (void)state;
    assert_cell(cell_text, json_string("x"), "x");
    assert_cell(cell_text, json_string(""), "-");
    assert_cell(cell_text, json_null(), "-");
    assert_cell(cell_text, json_integer(-5), "-5");
    assert_cell(cell_text, json_false(), "no");
    assert_cell(cell_text, json_pack("[s,s]", "a", "b"), "a, b");
    assert_cell(cell_text, json_array(), "-");
    assert_cell(cell_size, json_integer(999), "999 B");
    assert_cell(cell_size, json_string("5179805"), "5.2 MB");
    assert_cell(cell_size, json_null(), "-");
    assert_cell(cell_ago, json_null(), "never");
    assert_cell(cell_short_id, json_string("0123456789abcdef"), "0123456789ab");
    assert_cell(cell_counts, json_pack("{s:i, s:i, s:i}", "waiting", 2, "failed", 0, "succeeded", 3),
                "waiting 2, succeeded 3");
    assert_cell(cell_counts, json_object(), "-");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_and_options),
        cmocka_unit_test(lists_keep_their_order),
        cmocka_unit_test(a_query_may_begin_with_minus),
        cmocka_unit_test(wrong_calls_are_usage_errors),
        cmocka_unit_test(help_needs_nothing_else),
        cmocka_unit_test(settings_may_stand_anywhere),
        cmocka_unit_test(every_command_is_whole),
        cmocka_unit_test(paths_are_encoded),
        cmocka_unit_test(cells),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
