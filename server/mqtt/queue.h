#pragma once
/* A bounded queue between threads, first in first out. What it holds are single malloc()ed blocks that begin with a
 * struct queue_node. Any number of threads may push and take. */

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct queue_node {
    struct queue_node *next;
    size_t size; /* bytes it counts for; set by who makes it */
};

struct queue;

[[nodiscard]] enum err queue_new(size_t max_count, size_t max_bytes, struct queue **ret_queue);

/* Frees what is left, too. No thread may use it any more. NULL is fine. */
void queue_free(struct queue *q);

/* Takes the node over. False when the queue is full or closed: then the node is freed and counted as dropped. */
bool queue_push(struct queue *q, struct queue_node *node);

/* Up to max_count nodes and, after the first, max_bytes, as a list in order; queue_list_free() it. Waits up to wait_ms
 * for the first. NULL when there is none, or the queue is closed. */
[[nodiscard]] struct queue_node *queue_take(struct queue *q, size_t max_count, size_t max_bytes, int64_t wait_ms);
void queue_list_free(struct queue_node *list);

/* Nothing comes in or out any more; waiting threads return. */
void queue_close(struct queue *q);

/* How many nodes were dropped so far. */
uint64_t queue_dropped(struct queue *q);
