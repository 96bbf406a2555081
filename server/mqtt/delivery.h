#pragma once
/* One message of a device on its way from the inbox to the database: read, checked, and made into rows. Pure. */

#include "common/base/buf.h"
#include "server/core/message.h"
#include "server/mqtt/inbox.h"
#include "server/store/event.h"

#include <jansson.h>

enum delivery_outcome {
    DELIVERY_READY,      /* may be written; after a failure: was not, and is not acknowledged */
    DELIVERY_WRITTEN,    /* committed, or had been before */
    DELIVERY_REFUSED,    /* a data message that is not valid: acknowledged with the reason */
    DELIVERY_UNREADABLE, /* so broken that it cannot even be refused */
    DELIVERY_UNKNOWN,    /* of a device that does not exist, or is retired: no answer */
};

struct delivery {
    const struct inbox_message *message; /* borrowed */
    enum delivery_outcome outcome;
    char reason[200]; /* of DELIVERY_REFUSED and DELIVERY_UNREADABLE */
    json_t *json;     /* owns what the rest borrows */
    union {           /* by message->kind */
        struct hello hello;
        struct beat beat;
        struct gone gone;
        struct batch batch;
    };
    /* of a data message */
    size_t items;
    struct buf health, infer, drift; /* rows */
    struct event_entry *events;
    size_t event_count, event_room_;
    const json_t *inventory; /* the last one in it; NULL: none */
    char actor_[sizeof "device:" + DEVICE_ID_SIZE];
    /* set by writer.h */
    bool fresh;         /* a data message that had not been written before */
    bool wants_desired; /* the device has not seen its newest desired document */
};

/* Reads message and fills ret_delivery: DELIVERY_READY, DELIVERY_REFUSED or DELIVERY_UNREADABLE. delivery_clear() it.
 * The message must live as long as it. */
void delivery_read(const struct inbox_message *message, struct delivery *ret_delivery);

void delivery_clear(struct delivery *d);

/* Refuses a data message; anything else becomes DELIVERY_UNREADABLE. */
void delivery_refuse(struct delivery *d, const char *reason);
