#pragma once
/* Topics of api/mqtt.md. Pure. */

#include "common/base/err.h"
#include "server/pki/device_id.h"

#include <stddef.h>

/* What a device says. */
enum message_kind { MESSAGE_HELLO, MESSAGE_BEAT, MESSAGE_DATA, MESSAGE_GONE };

/* What a server reads: every device's messages, each given to one of the servers that share the subscription. */
#define TOPIC_SUBSCRIPTION "$share/musterd/muster/v1/+/up/#"

/* muster/v1/{device}/up/{kind}. ERR_INVALID: not such a topic, or not a device's id in it. */
[[nodiscard]] enum err topic_parse(const char *topic, char ret_device[DEVICE_ID_SIZE], enum message_kind *ret_kind);

enum { TOPIC_SIZE = 80 };

/* muster/v1/{device}/down/{leaf}; leaf is "ack" or "desired". */
void topic_down(const char *device_id, const char *leaf, char ret_topic[TOPIC_SIZE]);
