#include "server/mqtt/inbox.h"

#include "common/base/json.h"

#include <stdlib.h>
#include <string.h>

/* Of each part. Some seconds of a large fleet; a database that stays away longer costs repeats, not memory. */
enum { INBOX_MESSAGES_MAX = 20000, INBOX_BYTES_MAX = 32 * 1024 * 1024 };

struct inbox {
    int count;
    struct queue *parts[];
};

enum err inbox_new(int parts, struct inbox **ret_inbox)
{
    struct inbox *inbox = calloc(1, sizeof *inbox + (size_t)parts * sizeof(struct queue *));
    if (inbox == NULL)
        return ERR_NO_MEMORY;
    for (; inbox->count < parts; inbox->count++)
        if (queue_new(INBOX_MESSAGES_MAX, INBOX_BYTES_MAX, &inbox->parts[inbox->count]) != ERR_OK) {
            inbox_free(inbox);
            return ERR_NO_MEMORY;
        }
    *ret_inbox = inbox;
    return ERR_OK;
}

void inbox_free(struct inbox *inbox)
{
    for (int i = 0; inbox != NULL && i < inbox->count; i++)
        queue_free(inbox->parts[i]);
    free(inbox);
}

int inbox_parts(const struct inbox *inbox)
{
    return inbox->count;
}

struct queue *inbox_part(struct inbox *inbox, int part)
{
    return inbox->parts[part];
}

/* FNV-1a: http://www.isthe.com/chongo/tech/comp/fnv/ */
static uint32_t device_hash(const char *device)
{
    uint32_t hash = 2166136261U;
    for (; *device != '\0'; device++)
        hash = (hash ^ (unsigned char)*device) * 16777619U;
    return hash;
}

void inbox_put(struct inbox *inbox, const char *device, enum message_kind kind, const void *payload, size_t len,
               int64_t now_ms)
{
    struct inbox_message *m = len > JSON_BYTES_MAX ? NULL : malloc(sizeof *m + len);
    if (m == NULL)
        return;
    *m = (struct inbox_message){.node.size = sizeof *m + len, .kind = kind, .received_ms = now_ms, .len = len};
    memcpy(m->device, device, sizeof m->device);
    if (len > 0)
        memcpy(m->payload, payload, len);
    (void)queue_push(inbox->parts[device_hash(device) % (uint32_t)inbox->count], &m->node);
}

void inbox_close(struct inbox *inbox)
{
    for (int i = 0; i < inbox->count; i++)
        queue_close(inbox->parts[i]);
}
