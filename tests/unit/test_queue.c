/* Bounded queues between threads: order, limits, closing. */
#include "server/mqtt/inbox.h"
#include "server/mqtt/queue.h"

#include "tests/unit/unit.h"

#include <pthread.h>
#include <stdlib.h>

struct number {
    struct queue_node node;
    int value;
};

static bool push(struct queue *q, int value, size_t size)
{
    struct number *n = calloc(1, sizeof *n);
    assert_non_null(n);
    *n = (struct number){.node.size = size, .value = value};
    return queue_push(q, &n->node);
}

/* Takes at most max_count and max_bytes, and expects from..to. */
static void expect(struct queue *q, size_t max_count, size_t max_bytes, int from, int to)
{
    struct queue_node *list = queue_take(q, max_count, max_bytes, 0);
    int value = from;
    for (const struct queue_node *node = list; node != NULL; node = node->next)
        assert_int_equal(((const struct number *)node)->value, value++);
    assert_int_equal(value, to + 1);
    queue_list_free(list);
}

static void order_and_limits(void **state)
{
    (void)state;
    struct queue *q = NULL;
    assert_int_equal(queue_new(5, 100, &q), ERR_OK);
    for (int i = 1; i <= 5; i++)
        assert_true(push(q, i, 10));
    assert_false(push(q, 6, 1)); /* too many */
    assert_int_equal(queue_dropped(q), 1);
    expect(q, 2, 1000, 1, 2);
    assert_true(push(q, 6, 70));
    assert_false(push(q, 7, 1)); /* too long: 30 + 70 bytes are there */
    assert_int_equal(queue_dropped(q), 2);
    expect(q, 10, 30, 3, 5);
    expect(q, 10, 30, 6, 6); /* the first comes whatever its size */
    assert_null(queue_take(q, 1, 1, 0));
    assert_null(queue_take(q, 1, 1, 20));
    queue_free(q);
    queue_free(NULL);
}

static void *take_one(void *arg)
{
    return queue_take(arg, 1, 1000, 60 * 1000);
}

static void waiting_and_closing(void **state)
{
    (void)state;
    struct queue *q = NULL;
    assert_int_equal(queue_new(5, 100, &q), ERR_OK);
    pthread_t thread;
    void *taken = NULL;
    assert_int_equal(pthread_create(&thread, NULL, take_one, q), 0);
    assert_true(push(q, 1, 1));
    assert_int_equal(pthread_join(thread, &taken), 0);
    assert_non_null(taken);
    queue_list_free(taken);
    assert_int_equal(pthread_create(&thread, NULL, take_one, q), 0);
    queue_close(q);
    assert_int_equal(pthread_join(thread, &taken), 0); /* long before a minute is over */
    assert_null(taken);
    assert_false(push(q, 2, 1));
    assert_int_equal(queue_dropped(q), 1);
    queue_free(q);
}

static void inbox_keeps_devices_together(void **state)
{
    (void)state;
    struct inbox *inbox = NULL;
    assert_int_equal(inbox_new(3, &inbox), ERR_OK);
    assert_int_equal(inbox_parts(inbox), 3);
    char device[DEVICE_ID_SIZE] = "abcdefghijklmnopqrstuvwxyz";
    for (int i = 0; i < 300; i++) {
        device[0] = (char)('a' + i % 20);
        inbox_put(inbox, device, MESSAGE_DATA, &i, sizeof i, 7);
    }
    int owner[20];
    int next[20] = {0};
    size_t count = 0;
    int used = 0;
    for (int part = 0; part < 3; part++) {
        struct queue_node *list = queue_take(inbox_part(inbox, part), 1000, 1000000, 0);
        used += list != NULL;
        for (const struct queue_node *node = list; node != NULL; node = node->next, count++) {
            const struct inbox_message *m = (const struct inbox_message *)node;
            int which = m->device[0] - 'a';
            int value = 0;
            assert_int_equal(m->len, sizeof value);
            __builtin_memcpy(&value, m->payload, sizeof value);
            assert_int_equal(value, which + 20 * next[which]); /* in order */
            assert_true(next[which]++ == 0 || owner[which] == part);
            owner[which] = part;
        }
        queue_list_free(list);
    }
    assert_int_equal(count, 300);
    assert_int_equal(used, 3); /* and the devices are spread */
    inbox_free(inbox);
    inbox_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_and_limits),
        cmocka_unit_test(waiting_and_closing),
        cmocka_unit_test(inbox_keeps_devices_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
