/* server/http/workers: every admitted job runs once, no more are admitted than may wait, and the end leaves none. */

#include "server/http/workers.h"
#include "tests/unit/unit.h"

#include "common/base/clock.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { QUEUE = 8 };

struct task {
    struct job job; /* first */
    atomic_int *ran;
    atomic_bool *gate; /* waits until it is open; NULL: does not */
};

static void task_run(struct job *job, struct db *db)
{
    struct task *task = (struct task *)job;
    (void)db;
    while (task->gate != NULL && !atomic_load(task->gate))
        clock_sleep_ms(1);
    (void)atomic_fetch_add(task->ran, 1);
    free(task);
}

static bool give(struct workers *w, atomic_int *ran, atomic_bool *gate)
{
    if (!workers_admit(w))
        return false;
    struct task *task = calloc(1, sizeof *task);
    assert_non_null(task);
    *task = (struct task){.job = {.run = task_run}, .ran = ran, .gate = gate};
    workers_push(w, &task->job);
    return true;
}

static struct workers *start(size_t threads)
{
    struct workers *w = NULL;
    const struct workers_settings settings = {.count = threads, .queue_max = QUEUE, .database_url = "dbname=none"};
    assert_int_equal(workers_start(&settings, &w, NULL), ERR_OK);
    return w;
}

static void wait_for(atomic_int *value, int expected)
{
    for (int i = 0; i < 5000 && atomic_load(value) != expected; i++)
        clock_sleep_ms(1);
    assert_int_equal(atomic_load(value), expected);
}

static void the_queue_is_bounded(void **state)
{
    (void)state;
    atomic_int ran = 0;
    atomic_bool gate = false;
    struct workers *w = start(1);
    int given = 0;
    for (int i = 0; i < 100; i++) {
        given += give(w, &ran, &gate);
        clock_sleep_ms(i == 0 ? 20 : 0); /* the worker takes the first one out of the queue */
    }
    assert_int_equal(given, QUEUE + 1);
    atomic_store(&gate, true);
    wait_for(&ran, given);
    assert_true(give(w, &ran, NULL)); /* there is room again */
    wait_for(&ran, given + 1);
    workers_stop(w);
}

static void the_end_does_what_waits_and_takes_no_more(void **state)
{
    (void)state;
    for (int round = 0; round < 50; round++) {
        atomic_int ran = 0;
        int given = 0;
        struct workers *w = start(3);
        for (int i = 0; i < 6; i++)
            given += give(w, &ran, NULL);
        workers_stop(w);
        assert_int_equal(atomic_load(&ran), given);
        assert_true(given > 0);
    }
}

static void stopping_nothing_is_fine(void **state)
{
    (void)state;
    workers_stop(NULL);
    workers_stop(start(4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_queue_is_bounded),
                                       cmocka_unit_test(the_end_does_what_waits_and_takes_no_more),
                                       cmocka_unit_test(stopping_nothing_is_fine)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
