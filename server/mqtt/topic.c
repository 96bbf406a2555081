#include "server/mqtt/topic.h"

#include "common/base/text.h"

#include <stdio.h>
#include <string.h>

#define TOPIC_PREFIX "muster/v1/"

enum err topic_parse(const char *topic, char ret_device[DEVICE_ID_SIZE], enum message_kind *ret_kind)
{
    static const char *const names[] = {[MESSAGE_HELLO] = "/up/hello",
                                        [MESSAGE_BEAT] = "/up/beat",
                                        [MESSAGE_DATA] = "/up/data",
                                        [MESSAGE_GONE] = "/up/gone"};
    if (!text_starts(topic, TOPIC_PREFIX))
        return ERR_INVALID;
    topic += strlen(TOPIC_PREFIX);
    const char *tail = strchr(topic, '/');
    char device[DEVICE_ID_SIZE];
    if (tail == NULL || tail - topic != DEVICE_ID_SIZE - 1)
        return ERR_INVALID;
    memcpy(device, topic, DEVICE_ID_SIZE - 1);
    device[DEVICE_ID_SIZE - 1] = '\0';
    if (!device_id_ok(device))
        return ERR_INVALID;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (text_eq(tail, names[i])) {
            memcpy(ret_device, device, sizeof device);
            *ret_kind = (enum message_kind)i;
            return ERR_OK;
        }
    return ERR_INVALID;
}

void topic_subscription(const char *share, char ret_topic[TOPIC_SIZE])
{
    (void)snprintf(ret_topic, TOPIC_SIZE, "$share/%s/" TOPIC_PREFIX "+/up/#", share);
}

void topic_down(const char *device_id, const char *leaf, char ret_topic[TOPIC_SIZE])
{
    (void)snprintf(ret_topic, TOPIC_SIZE, TOPIC_PREFIX "%s/down/%s", device_id, leaf);
}
