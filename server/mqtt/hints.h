#pragma once
/* Devices whose desired document is to be sent: a bounded queue from whoever changed it, or saw that a device has not
 * seen it, to the publisher. */

#include "server/core/device_id.h"
#include "server/mqtt/queue.h"

struct hint {
    struct queue_node node;
    char device[DEVICE_ID_SIZE];
    bool urgent; /* send it even if it was sent a moment ago: it has changed, or the device has just connected */
};

/* Queues a hint; a full queue drops it, and a later beat brings it again. Any thread; does not block. */
void hints_put(struct queue *hints, const char *device, bool urgent);
