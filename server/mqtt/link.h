#pragma once
/* The server's connection to the MQTT broker: MQTT 5 over mutual TLS, with a network thread of its own that connects,
 * connects again after a break, and subscribes to what all devices send. What arrives goes into an inbox (inbox.h);
 * what is sent goes through a bounded queue. Nothing is kept for a broker that is away: devices send again. */

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mqtt_link;
struct inbox;
struct queue;

struct mqtt_link_settings {
    const char *host;
    int port;
    const char *pki_dir; /* has server-ca.pem, mqtt-client.pem and mqtt-client.key */
    const char *share;   /* pki_share_name(): the servers' shared subscription */
    int inbox_parts;     /* one for each ingest writer */
};

/* Starts the thread; text is copied. The broker need not be there yet. ERR_IO when a certificate file cannot be read,
 * ERR_NO_MEMORY. One link per process. */
[[nodiscard]] enum err mqtt_link_start(const struct mqtt_link_settings *settings, struct mqtt_link **ret_link,
                                       struct err_info *info);

/* Ends the thread and waits for it: at once, unless it is looking up the broker's name. Stop ingest and publisher
 * first: they use the link. NULL is fine. */
void mqtt_link_stop(struct mqtt_link *link);

/* Since when what devices send has been arriving without a break: clock_mono_ms() of the moment the broker granted the
 * subscription; 0 while it has not. Any thread; does not block. */
int64_t mqtt_link_connected_since_ms(const struct mqtt_link *link);

/* The device's desired document has changed: the publisher (publisher.h) reads the newest one and sends it. Call it
 * after the commit. Any thread; does not block. A hint that is lost costs a beat or two: every beat tells which
 * generation the device has seen. */
void mqtt_link_publish_desired(struct mqtt_link *link, const char *device_id);

/* Queues a message to muster/v1/{device}/down/{leaf}; payload is copied. Any thread; does not block. Dropped and
 * counted when the broker is away or the queue is full. */
void mqtt_link_send(struct mqtt_link *link, const char *device_id, const char *leaf, const char *payload, size_t len);

/* What has arrived, for ingest. Borrowed. */
struct inbox *mqtt_link_inbox(struct mqtt_link *link);

/* Devices whose desired document is to be sent (hints.h), from ingest to the publisher. Borrowed. */
struct queue *mqtt_link_hints(struct mqtt_link *link);
