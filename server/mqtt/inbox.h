#pragma once
/* What has arrived from devices and is not written yet: bounded queues, one for each ingest writer. All messages of one
 * device are in the same part, so that they keep their order. A full part drops what comes: devices send again. */

#include "server/mqtt/queue.h"
#include "server/mqtt/topic.h"

struct inbox;

struct inbox_message {
    struct queue_node node;
    char device[DEVICE_ID_SIZE];
    enum message_kind kind;
    int64_t received_ms; /* clock_mono_ms() */
    size_t len;
    char payload[]; /* len bytes, not NUL-terminated */
};

[[nodiscard]] enum err inbox_new(int parts, struct inbox **ret_inbox);

/* NULL is fine. */
void inbox_free(struct inbox *inbox);

int inbox_parts(const struct inbox *inbox);

/* Part part, whose nodes are struct inbox_message. Borrowed. */
struct queue *inbox_part(struct inbox *inbox, int part);

/* Copies a message in. Any thread; does not block. What is over 256 KiB or finds no room is dropped. */
void inbox_put(struct inbox *inbox, const char *device, enum message_kind kind, const void *payload, size_t len,
               int64_t now_ms);

/* No part gives or takes anything any more. */
void inbox_close(struct inbox *inbox);
