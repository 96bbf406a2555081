#include "server/mqtt/queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct queue {
    pthread_mutex_t mutex;
    pthread_cond_t filled;
    struct queue_node *head, *tail;
    size_t count, bytes;
    size_t max_count, max_bytes;
    uint64_t dropped;
    bool closed;
};

enum err queue_new(size_t max_count, size_t max_bytes, struct queue **ret_queue)
{
    struct queue *q = calloc(1, sizeof *q);
    if (q == NULL)
        return ERR_NO_MEMORY;
    q->max_count = max_count;
    q->max_bytes = max_bytes;
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&q->filled, &attr);
    (void)pthread_condattr_destroy(&attr);
    (void)pthread_mutex_init(&q->mutex, NULL);
    *ret_queue = q;
    return ERR_OK;
}

void queue_list_free(struct queue_node *list)
{
    while (list != NULL) {
        struct queue_node *next = list->next;
        free(list);
        list = next;
    }
}

void queue_free(struct queue *q)
{
    if (q == NULL)
        return;
    queue_list_free(q->head);
    (void)pthread_cond_destroy(&q->filled);
    (void)pthread_mutex_destroy(&q->mutex);
    free(q);
}

bool queue_push(struct queue *q, struct queue_node *node)
{
    (void)pthread_mutex_lock(&q->mutex);
    bool room = !q->closed && q->count < q->max_count && q->bytes + node->size <= q->max_bytes;
    if (room) {
        node->next = NULL;
        if (q->tail == NULL)
            q->head = node;
        else
            q->tail->next = node;
        q->tail = node;
        q->count++;
        q->bytes += node->size;
        (void)pthread_cond_signal(&q->filled);
    } else {
        q->dropped++;
    }
    (void)pthread_mutex_unlock(&q->mutex);
    if (!room)
        free(node);
    return room;
}

/* pthread_cond_timedwait() on the monotonic clock. */
static void queue_wait(struct queue *q, int64_t wait_ms)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(wait_ms / 1000);
    until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    while (q->head == NULL && !q->closed)
        if (pthread_cond_timedwait(&q->filled, &q->mutex, &until) == ETIMEDOUT)
            return;
}

struct queue_node *queue_take(struct queue *q, size_t max_count, size_t max_bytes, int64_t wait_ms)
{
    (void)pthread_mutex_lock(&q->mutex);
    if (q->head == NULL && wait_ms > 0)
        queue_wait(q, wait_ms);
    struct queue_node *list = NULL;
    struct queue_node *last = NULL;
    size_t bytes = 0;
    for (size_t n = 0; n < max_count && q->head != NULL && !q->closed; n++) {
        if (last != NULL && bytes + q->head->size > max_bytes)
            break;
        if (last == NULL)
            list = q->head;
        last = q->head;
        bytes += last->size;
        q->head = last->next;
        q->count--;
        q->bytes -= last->size;
    }
    if (last != NULL)
        last->next = NULL;
    if (q->head == NULL)
        q->tail = NULL;
    (void)pthread_mutex_unlock(&q->mutex);
    return list;
}

void queue_close(struct queue *q)
{
    (void)pthread_mutex_lock(&q->mutex);
    q->closed = true;
    (void)pthread_cond_broadcast(&q->filled);
    (void)pthread_mutex_unlock(&q->mutex);
}

uint64_t queue_dropped(struct queue *q)
{
    (void)pthread_mutex_lock(&q->mutex);
    uint64_t dropped = q->dropped;
    (void)pthread_mutex_unlock(&q->mutex);
    return dropped;
}
