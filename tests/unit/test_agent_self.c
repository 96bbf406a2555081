/* The agent's own versions: what the two files say, which version a launcher runs, and that a crash at any point of an
 * update of the agent leaves one that runs. */
#include "agent/self/launch.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/text.h"

#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define T64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct trial sample(void)
{
    return (struct trial){.bundle = T64,
                          .version = "4-01234567",
                          .back = "3-89abcdef",
                          .tries = 3,
                          .report_s = 300,
                          .probation_s = 60,
                          .generation = 77};
}

/* ---- files ---- */

static void files_there_and_back(void **state)
{
    (void)state;
    char text[TRIAL_TEXT_MAX];
    struct trial t = sample();
    struct trial u;
    trial_print(&t, text);
    assert_int_equal(trial_parse(text, &u), ERR_OK);
    assert_memory_equal(&t, &u, sizeof t);
    t.back[0] = '\0';
    t.reported = true;
    trial_print(&t, text);
    assert_int_equal(trial_parse(text, &u), ERR_OK);
    assert_string_equal(u.back, "");
    assert_true(u.reported);
    struct verdict v = {.bundle = T64, .code = "agent_crashed", .detail = "ended by\nsignal 11", .generation = 5};
    struct verdict w;
    verdict_print(&v, text);
    assert_int_equal(verdict_parse(text, &w), ERR_OK);
    assert_string_equal(w.detail, "ended by?signal 11");
    assert_string_equal(w.code, "agent_crashed");
    assert_int_equal(w.generation, 5);
}

static void files_of_other_releases(void **state)
{
    (void)state;
    char text[TRIAL_TEXT_MAX];
    char longer[TRIAL_TEXT_MAX + 64];
    struct trial t = sample();
    trial_print(&t, text);
    (void)snprintf(longer, sizeof longer, "%smood cheerful\n", text);
    assert_int_equal(trial_parse(longer, &t), ERR_OK);
    text[strlen("muster-agent-trial ")] = '2';
    assert_int_equal(trial_parse(text, &t), ERR_CORRUPT);
}

/* Every shortening and every change of one byte gives the same, another valid, or no trial; never a path outside. */
static void files_damaged(void **state)
{
    (void)state;
    char text[TRIAL_TEXT_MAX];
    char bad[TRIAL_TEXT_MAX];
    const struct trial t = sample();
    struct trial u;
    trial_print(&t, text);
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++) {
        (void)text_copy(bad, i + 1, text);
        assert_int_equal(trial_parse(bad, &u), ERR_CORRUPT);
        for (int c = 1; c < 128; c++) {
            (void)text_copy(bad, sizeof bad, text);
            bad[i] = (char)c;
            if (trial_parse(bad, &u) == ERR_OK) {
                assert_null(strchr(u.version, '/'));
                assert_string_not_equal(u.version, "..");
                assert_true(text_is_sha256(u.bundle));
            }
        }
    }
    assert_int_equal(trial_parse("", &u), ERR_CORRUPT);
}

/* ---- decisions ---- */

static void decisions(void **state)
{
    (void)state;
    struct trial t = sample();
    struct verdict v = {.bundle = T64, .code = "agent_crashed", .detail = "d"};
    struct decide_facts f = {.current = "", .previous = ""};
    assert_int_equal(decide(&f).action, DECIDE_BASE);
    f.current = "3-89abcdef";
    f.current_good = true;
    assert_int_equal(decide(&f).action, DECIDE_VERSION);
    f.trial = &t; /* written, but the link has not been changed yet */
    assert_int_equal(decide(&f).action, DECIDE_VERSION);
    assert_string_equal(decide(&f).dir, "3-89abcdef");
    f.current = "4-01234567";
    assert_int_equal(decide(&f).action, DECIDE_GUARD);
    t.tries = 0;
    assert_int_equal(decide(&f).action, DECIDE_BACK);
    assert_string_equal(decide(&f).verdict.code, "agent_not_reporting");
    assert_string_equal(decide(&f).dir, "3-89abcdef");
    t.tries = 2;
    f.current_good = false;
    assert_string_equal(decide(&f).verdict.code, "agent_crashed");
    f.current_good = true;
    f.verdict = &v; /* going back was interrupted */
    assert_int_equal(decide(&f).action, DECIDE_BACK);
    assert_string_equal(decide(&f).verdict.detail, "d");
    memset(v.bundle, 'e', 64); /* about an earlier one */
    assert_int_equal(decide(&f).action, DECIDE_GUARD);
    f.trial = NULL;
    f.trial_damaged = true;
    f.previous = "3-89abcdef";
    assert_int_equal(decide(&f).action, DECIDE_BASE);
    f.previous_good = true;
    assert_string_equal(decide(&f).dir, "3-89abcdef");
    f.trial_damaged = false;
    f.current_good = false;
    assert_string_equal(decide(&f).dir, "3-89abcdef");
    f.previous_good = false;
    assert_int_equal(decide(&f).action, DECIDE_BASE);
}

static void lateness(void **state)
{
    (void)state;
    char detail[TRIAL_DETAIL_SIZE];
    const struct trial t = sample();
    assert_null(decide_late(&t, 300 * 1000, -1, detail));
    assert_string_equal(decide_late(&t, 311 * 1000, -1, detail), "agent_not_reporting");
    assert_null(decide_late(&t, 311 * 1000, 100, detail));
    assert_null(decide_late(&t, 1000 * 1000, 100 * 1000, detail));
    assert_string_equal(decide_late(&t, 1000 * 1000, 121 * 1000, detail), "agent_not_reporting");
}

/* ---- on a disk ---- */

struct disk {
    char path[64];
    char before[PATH_MAX];
};

static void disk_start(struct disk *d)
{
    *d = (struct disk){.path = "/tmp/muster-test-XXXXXX"};
    assert_non_null(getcwd(d->before, sizeof d->before));
    assert_non_null(mkdtemp(d->path));
    assert_int_equal(chdir(d->path), 0);
    assert_int_equal(file_make_dirs("slots/agent", 0755), ERR_OK);
}

static void disk_end(struct disk *d)
{
    assert_int_equal(chdir(d->before), 0);
    assert_int_equal(file_remove_tree(d->path), ERR_OK);
}
#define cleanup_disk [[gnu::cleanup(disk_end)]]

/* A version whose program says its name. */
static void version_put(const char *name, const char *extra)
{
    char path[256];
    char manifest[1024];
    char sha256[SHA256_HEX];
    char program[64];
    (void)snprintf(program, sizeof program, "#!/bin/sh\necho %s\n", name);
    assert_int_equal(sha256_hex(program, strlen(program), sha256), ERR_OK);
    (void)snprintf(path, sizeof path, "slots/agent/%s/bin", name);
    assert_int_equal(file_make_dirs(path, 0755), ERR_OK);
    (void)snprintf(path, sizeof path, "slots/agent/%s/bin/agent", name);
    assert_int_equal(file_write(path, program, strlen(program), 0555), ERR_OK);
    (void)snprintf(manifest, sizeof manifest,
                   "{\"schema\":1,\"kind\":\"agent\",\"agent\":{\"program\":\"bin/agent\"%s},\"files\":[{\"path\":"
                   "\"bin/agent\",\"size\":%zu,\"sha256\":\"%s\",\"mode\":\"0555\"}]}",
                   extra, strlen(program), sha256);
    (void)snprintf(path, sizeof path, "slots/agent/%s/manifest.json", name);
    assert_int_equal(file_write(path, manifest, strlen(manifest), 0444), ERR_OK);
}

static void versions_are_checked(void **state)
{
    (void)state;
    cleanup_disk struct disk d;
    char program[PATH_MAX];
    disk_start(&d);
    version_put("3-89abcdef", ",\"future\":{\"x\":1}");
    assert_int_equal(store_program("3-89abcdef", program), ERR_OK);
    assert_string_equal(program, "slots/agent/3-89abcdef/bin/agent");
    assert_int_equal(chmod(program, 0444), 0);
    if (geteuid() != 0 || access(program, X_OK) != 0)
        assert_int_equal(store_program("3-89abcdef", program), ERR_CORRUPT);
    assert_int_equal(file_write("slots/agent/3-89abcdef/bin/agent", "#!/bin/sh\necho 3-89abcdeF\n", 26, 0555), ERR_OK);
    assert_int_equal(store_program("3-89abcdef", program), ERR_CORRUPT); /* one letter is another */
    assert_int_equal(unlink("slots/agent/3-89abcdef/bin/agent"), 0);
    assert_int_equal(store_program("3-89abcdef", program), ERR_NOT_FOUND);
    version_put("5-89abcdef", ",\"x\":1},\"y\":{\"program\":\"../../../../bin/sh\"");
    assert_int_equal(store_program("5-89abcdef", program), ERR_OK);
    assert_int_equal(store_program("6-00000000", program), ERR_NOT_FOUND);
}

static void path_outside_is_refused(void **state)
{
    (void)state;
    cleanup_disk struct disk d;
    char program[PATH_MAX];
    static const char *const paths[] = {"../../../bin/sh", "/bin/sh", "a/../../b", "", ".", "a//b", "a/"};
    disk_start(&d);
    version_put("3-89abcdef", "");
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        char manifest[256];
        (void)snprintf(manifest, sizeof manifest, "{\"agent\":{\"program\":\"%s\"},\"files\":[]}", paths[i]);
        assert_int_equal(file_write("slots/agent/3-89abcdef/manifest.json", manifest, strlen(manifest), 0444), ERR_OK);
        assert_int_equal(store_program("3-89abcdef", program), ERR_CORRUPT);
    }
}

/* Going back, cut off after each of its steps and done again. */
static void back_can_be_repeated(void **state)
{
    (void)state;
    for (int step = 0; step < 4; step++) {
        cleanup_disk struct disk d;
        char name[TRIAL_DIR_SIZE] = "";
        struct store_facts facts;
        const struct trial t = sample();
        const struct verdict v = {.bundle = T64, .code = "agent_crashed", .detail = "d", .generation = 77};
        disk_start(&d);
        version_put("3-89abcdef", "");
        version_put("4-01234567", "");
        assert_int_equal(symlink(step < 2 ? "4-01234567" : "3-89abcdef", "slots/agent/current"), 0);
        if (step < 3)
            assert_int_equal(store_trial_put(&t), ERR_OK);
        if (step > 0)
            assert_int_equal(store_verdict_put(&v), ERR_OK);
        store_read(&facts);
        struct decide_plan plan = decide(&facts.facts);
        static const enum decide_action expected[] = {DECIDE_GUARD, DECIDE_BACK, DECIDE_VERSION, DECIDE_VERSION};
        assert_int_equal(plan.action, expected[step]);
        assert_int_equal(store_back(&t, &v), ERR_OK);
        store_read(&facts);
        assert_int_equal(decide(&facts.facts).action, DECIDE_VERSION);
        assert_string_equal(decide(&facts.facts).dir, "3-89abcdef");
        assert_null(facts.facts.trial);
        assert_non_null(facts.facts.verdict);
        assert_int_equal(readlink("slots/agent/current", name, sizeof name), 10);
    }
}

static void back_to_the_installed_one(void **state)
{
    (void)state;
    cleanup_disk struct disk d;
    struct store_facts facts;
    struct trial t = sample();
    const struct verdict v = {.bundle = T64, .code = "agent_crashed", .detail = "d"};
    t.back[0] = '\0';
    disk_start(&d);
    version_put("4-01234567", "");
    assert_int_equal(symlink("4-01234567", "slots/agent/current"), 0);
    assert_int_equal(store_trial_put(&t), ERR_OK);
    assert_int_equal(store_back(&t, &v), ERR_OK);
    store_read(&facts);
    assert_int_equal(decide(&facts.facts).action, DECIDE_BASE);
    assert_int_equal(store_back(&t, &v), ERR_OK);
}

/* ---- where the state is ---- */

static void state_dir(void **state)
{
    (void)state;
    cleanup_disk struct disk d;
    char dir[PATH_MAX];
    bool command = false;
    static const char conf[] = "name = x\nsome_future_key = 1\nstate_dir = /from/file\n";
    disk_start(&d);
    assert_int_equal(file_write("conf", conf, sizeof conf - 1, 0600), ERR_OK);
    launch_state_dir(3, (char *[]){"a", "--config", "conf", NULL}, dir, &command);
    assert_string_equal(dir, "/from/file");
    assert_false(command);
    launch_state_dir(5, (char *[]){"a", "--config=conf", "--name", "--state-dir", "--state-dir=/flag", NULL}, dir,
                     &command);
    assert_string_equal(dir, "/flag");
    assert_false(command);
    launch_state_dir(4, (char *[]){"a", "--config", "conf", "status", NULL}, dir, &command);
    assert_true(command);
    launch_state_dir(2, (char *[]){"a", "--version", NULL}, dir, &command);
    assert_true(command);
}

int main(void)
{
    json_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_there_and_back),
        cmocka_unit_test(files_of_other_releases),
        cmocka_unit_test(files_damaged),
        cmocka_unit_test(decisions),
        cmocka_unit_test(lateness),
        cmocka_unit_test(versions_are_checked),
        cmocka_unit_test(path_outside_is_refused),
        cmocka_unit_test(back_can_be_repeated),
        cmocka_unit_test(back_to_the_installed_one),
        cmocka_unit_test(state_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
