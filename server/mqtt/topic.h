#pragma once
/* Topics of api/mqtt.md. Pure. */

#include "common/base/err.h"
#include "server/core/device_id.h"

#include <stddef.h>

/* What a device says. */
enum message_kind { MESSAGE_HELLO, MESSAGE_BEAT, MESSAGE_DATA, MESSAGE_GONE };

/* muster/v1/{device}/up/{kind}. ERR_INVALID: not such a topic, or not a device's id in it. */
[[nodiscard]] enum err topic_parse(const char *topic, char ret_device[DEVICE_ID_SIZE], enum message_kind *ret_kind);

enum { TOPIC_SIZE = 80 };

/* What a server reads: $share/{share}/muster/v1/+/up/#, every device's messages, each given to one of the servers that
 * share the subscription. share is a secret of the servers (pki_share_name), at most 40 bytes. */
void topic_subscription(const char *share, char ret_topic[TOPIC_SIZE]);

/* muster/v1/{device}/down/{leaf}; leaf is "ack" or "desired". */
void topic_down(const char *device_id, const char *leaf, char ret_topic[TOPIC_SIZE]);
