/* Apps: commands with a time limit, in their place and with nothing left over; the text of a unit and what systemd says
 * of it. */
#include "agent/apps/command.h"
#include "agent/apps/unit.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/text.h"

#include "tests/unit/unit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define B64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* A state directory, which becomes the working directory, with one version in it. */
struct place {
    char path[64];
    char before[PATH_MAX];
    struct manifest manifest;
    struct app_version version;
};

static void place_start(struct place *p, const char *template)
{
    *p = (struct place){.manifest = {.id = B64, .version = "1.2.3", .app = {.timeout_s = 30}}};
    (void)text_copy(p->path, sizeof p->path, template);
    assert_non_null(getcwd(p->before, sizeof p->before));
    assert_non_null(mkdtemp(p->path));
    assert_int_equal(chdir(p->path), 0);
    assert_int_equal(file_make_dirs("slots/web/1-01234567", 0755), ERR_OK);
    p->version = (struct app_version){.slot = "web", .dir = "slots/web/1-01234567", .manifest = &p->manifest};
}

static void place_end(struct place *p)
{
    assert_int_equal(chdir(p->before), 0);
    assert_int_equal(file_remove_tree(p->path), ERR_OK);
}
#define cleanup_place [[gnu::cleanup(place_end)]]

/* ---- commands ---- */

struct outcome {
    struct loop loop;
    bool done;
    enum command_end end;
    char detail[256];
};

static void finished(void *user, enum command_end end, const char *detail)
{
    struct outcome *o = user;
    o->done = true;
    o->end = end;
    (void)text_copy(o->detail, sizeof o->detail, detail);
    loop_stop(&o->loop);
}

static void give_up(void *user)
{
    loop_stop(user);
}

/* Runs a script, "" for none at all, as the version's check. */
static struct outcome command_try(struct place *p, const char *script)
{
    struct outcome o = {0};
    struct command command = {0};
    struct loop_timer limit = {0};
    const char *words[] = {"check", "a b"};
    if (script[0] != '\0')
        assert_int_equal(file_write("slots/web/1-01234567/check", script, strlen(script), 0755), ERR_OK);
    p->manifest.app.check = (struct manifest_command){.count = 2, .words = words};
    command_start(&command, &o.loop, "check", &p->version, &p->manifest.app.check, finished, &o);
    assert_true(command_running(&command));
    loop_timer_set(&o.loop, &limit, 20 * 1000, give_up, &o.loop);
    assert_int_equal(loop_run(&o.loop), ERR_OK);
    loop_timer_clear(&o.loop, &limit);
    command_cancel(&command);
    assert_true(o.done);
    return o;
}

static void command_ends(void **state)
{
    (void)state;
    cleanup_place struct place p;
    place_start(&p, "/tmp/muster-test-XXXXXX");
    struct outcome o = command_try(&p, "");
    assert_int_equal(o.end, COMMAND_NOT_STARTED);
    assert_non_null(strstr(o.detail, "No such file"));
    o = command_try(&p, "#!/bin/sh\necho one\necho '\001two'\nexit 4\n");
    assert_int_equal(o.end, COMMAND_BADLY);
    assert_string_equal(o.detail, "check: exit status 4: ?two");
    o = command_try(&p, "#!/bin/sh\nkill -SEGV $$\n");
    assert_int_equal(o.end, COMMAND_BADLY);
    o = command_try(&p,
                    "#!/bin/sh\ntest \"$1\" = 'a b' && test -f check && test \"$MUSTER_VERSION\" = 1.2.3 &&\n"
                    "test \"$MUSTER_SLOT\" = web && test $MUSTER_BUNDLE = " B64 " && test -z \"$MUSTER_SECRET\" &&\n"
                    "echo well > \"$MUSTER_STATE/said\"\n");
    assert_string_equal(o.detail, "check: exit status 0");
    assert_int_equal(o.end, COMMAND_WELL);
    assert_int_equal(access("data/web/said", R_OK), 0); /* outside of the version, so that it stays */
}

/* What a command has started ends with it, in its session or not; so does one that takes too long. */
static void command_leaves_nothing(void **state)
{
    (void)state;
    cleanup_place struct place p;
    place_start(&p, "/tmp/muster-test-XXXXXX");
    int64_t began = clock_mono_ms();
    struct outcome o =
        command_try(&p, "#!/bin/sh\nsleep 60 &\nsetsid sleep 60 > /dev/null 2>&1 &\nsleep 0.5\necho done\n");
    assert_int_equal(o.end, COMMAND_WELL);
    assert_int_equal(place_clear("other", NULL), 0);
    assert_int_equal(place_clear("web", "other"), 0);
    clock_sleep_ms(300);                          /* one that is being killed may still be seen */
    assert_int_equal(place_clear("web", B64), 1); /* the one that had hidden; the other was killed with its session */
    assert_int_equal(place_clear(NULL, NULL), 0);
    p.manifest.app.timeout_s = 1;
    o = command_try(&p, "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 1; done\n");
    assert_int_equal(o.end, COMMAND_LATE);
    assert_non_null(strstr(o.detail, "within 1 s"));
    clock_sleep_ms(300);
    assert_int_equal(place_clear(NULL, NULL), 0);
    assert_true(clock_mono_ms() - began < 15 * 1000);
}

/* A program that never stops talking cannot keep the loop to itself. */
static void command_that_talks(void **state)
{
    (void)state;
    cleanup_place struct place p;
    place_start(&p, "/tmp/muster-test-XXXXXX");
    p.manifest.app.timeout_s = 1;
    int log = dup(STDERR_FILENO); /* it would be in ours */
    assert_non_null(freopen("/dev/null", "w", stderr));
    struct outcome o = command_try(&p, "#!/bin/sh\nexec yes\n");
    (void)dup2(log, STDERR_FILENO);
    (void)close(log);
    assert_int_equal(o.end, COMMAND_LATE);
}

/* ---- units ---- */

static void unit_files(void **state)
{
    (void)state;
    cleanup_place struct place p;
    cleanup_free char *text = NULL;
    char expected[16384];
    static const char bundle[] = "[Service]\nExecStart=/usr/bin/env ./x";
    place_start(&p, "/tmp/muster%n-XXXXXX");
    assert_int_equal(unit_text("", 0, &p.version, &text), ERR_INVALID);
    assert_int_equal(unit_text("\xff\xfe", 2, &p.version, &text), ERR_INVALID);
    assert_int_equal(unit_text(bundle, sizeof bundle - 1, &p.version, &text), ERR_OK);
    const char *path = p.path + strlen("/tmp/muster%");
    (void)snprintf(expected, sizeof expected,
                   "%s\n# Added by muster-agent\n[Service]\nWorkingDirectory=/tmp/muster%%%%%s/slots/web/1-01234567\n"
                   "Environment=\"MUSTER_SLOT=web\"\nEnvironment=\"MUSTER_VERSION=1.2.3\"\n"
                   "Environment=\"MUSTER_BUNDLE=" B64 "\"\nEnvironment=\"MUSTER_STATE=/tmp/muster%%%%%s/data/web\"\n",
                   bundle, path, path);
    assert_string_equal(text, expected);
}

static void unit_in_a_strange_place(void **state)
{
    (void)state;
    cleanup_place struct place p;
    char *text = NULL;
    place_start(&p, "/tmp/muster\"\n[x]-XXXXXX");
    assert_int_equal(unit_text("[Service]", 9, &p.version, &text), ERR_INVALID);
    assert_null(text);
}

static void unit_states(void **state)
{
    (void)state;
    static const struct {
        const char *said;
        enum unit_state state;
    } cases[] = {{"active", UNIT_ACTIVE},
                 {"reloading", UNIT_ACTIVE},
                 {"activating", UNIT_CHANGING},
                 {"deactivating", UNIT_CHANGING},
                 {"failed", UNIT_DOWN},
                 {"inactive", UNIT_DOWN},
                 {"", UNIT_DOWN}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char line[64];
        struct unit_look look = {0};
        (void)snprintf(line, sizeof line, "ActiveState=%s", cases[i].said);
        unit_look_line(&look, line);
        assert_int_equal(look.state, cases[i].state);
    }
    struct unit_look look = {0};
    unit_look_line(&look, "NRestarts=7");
    unit_look_line(&look, "Result=exit-code");
    unit_look_line(&look, "Failed to connect to bus");
    unit_look_line(&look, "NRestarts=many");
    assert_int_equal(look.restarts, 7);
    assert_string_equal(look.result, "exit-code");
    assert_int_equal(look.state, UNIT_UNKNOWN);
}

int main(void)
{
    (void)setenv("MUSTER_SECRET", "x", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(command_ends), cmocka_unit_test(command_leaves_nothing),  cmocka_unit_test(command_that_talks),
        cmocka_unit_test(unit_files),   cmocka_unit_test(unit_in_a_strange_place), cmocka_unit_test(unit_states),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
