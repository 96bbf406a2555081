/* common/base/process: a child that ends with its parent, also with one that has ended already. */

#include "common/base/process.h"
#include "tests/unit/unit.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* Whether a child follows whose stdout is a pipe, with or without somebody who reads it. */
static bool follows(bool reader)
{
    int ends[2];
    int status = 0;
    assert_int_equal(pipe(ends), 0);
    if (!reader)
        (void)close(ends[0]);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)dup2(ends[1], STDOUT_FILENO);
        _exit(process_follow_parent() ? 0 : 1);
    }
    assert_true(waitpid(child, &status, 0) == child);
    (void)close(ends[1]);
    if (reader)
        (void)close(ends[0]);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void parent_is_there(void **state)
{
    (void)state;
    assert_true(follows(true));
}

static void parent_has_ended_before(void **state)
{
    (void)state;
    assert_false(follows(false));
}

static void killed_with_the_parent(void **state)
{
    (void)state;
    int ends[2];
    char byte = 0;
    assert_int_equal(pipe(ends), 0);
    pid_t parent = fork();
    assert_true(parent >= 0);
    if (parent == 0) {
        if (fork() == 0) { /* holds the pipe open for as long as it lives */
            if (process_follow_parent() && write(ends[1], "r", 1) == 1)
                (void)sleep(60);
            _exit(0);
        }
        (void)sleep(60);
        _exit(0);
    }
    (void)close(ends[1]);
    assert_true(read(ends[0], &byte, 1) == 1);
    assert_int_equal(kill(parent, SIGKILL), 0);
    assert_true(waitpid(parent, NULL, 0) == parent);
    (void)alarm(20);
    assert_true(read(ends[0], &byte, 1) == 0);
    (void)alarm(0);
    (void)close(ends[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parent_is_there),
        cmocka_unit_test(parent_has_ended_before),
        cmocka_unit_test(killed_with_the_parent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
