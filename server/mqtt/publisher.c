#include "server/mqtt/publisher.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/text.h"
#include "server/mqtt/hints.h"
#include "server/mqtt/link.h"
#include "server/store/desired.h"
#include "server/thread/outage.h"
#include "server/thread/stopper.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    TAKE_MAX = 64,
    TAKE_WAIT_MS = 10 * 1000,
    RETRY_MS = 1000,
    REPEAT_MS = 3000, /* least distance between two documents to one device that nothing new called for */
    RECENT_CHARACTERS = 3,
    RECENT_MAX = 32 * 32 * 32, /* places for devices whose last document is remembered */
};

struct recent {
    char device[DEVICE_ID_SIZE];
    int64_t sent_ms;
};

struct publisher {
    struct mqtt_link *link;
    double beat_s;
    struct db *db;
    pthread_t thread;
    struct stopper stopper;
    struct outage outage;
    /* Each device has one place, given by its id; one that takes another's place only makes a repeat more likely. */
    struct recent recent[RECENT_MAX];
};

/* Ids are random: the bits of their first characters are as good as a hash. */
static struct recent *recent_of(struct publisher *p, const char *device)
{
    size_t index = 0;
    for (size_t i = 0; i < RECENT_CHARACTERS; i++)
        index = index * 32 + (size_t)(device[i] >= 'a' ? device[i] - 'a' : device[i] - '2' + 26) % 32;
    return &p->recent[index];
}

static bool sent_lately(struct publisher *p, const char *device, int64_t now)
{
    const struct recent *r = recent_of(p, device);
    return text_eq(r->device, device) && now - r->sent_ms < REPEAT_MS;
}

/* A device that was retired in the meantime gets nothing. */
static enum err document_send(struct publisher *p, const char *device, int64_t now, struct err_info *info)
{
    cleanup_free char *json = NULL;
    enum err e = desired_document(p->db, device, p->beat_s, &json, info);
    if (e == ERR_NOT_FOUND)
        return ERR_OK;
    if (e != ERR_OK)
        return e;
    mqtt_link_send(p->link, device, "desired", json, strlen(json));
    struct recent *r = recent_of(p, device);
    (void)text_copy(r->device, sizeof r->device, device);
    r->sent_ms = now;
    return ERR_OK;
}

static void hints_work(struct publisher *p, const struct queue_node *list)
{
    for (const struct queue_node *node = list; node != NULL && !stopper_stopping(&p->stopper); node = node->next) {
        const struct hint *hint = (const struct hint *)node;
        int64_t now = clock_mono_ms();
        if (!hint->urgent && sent_lately(p, hint->device, now))
            continue;
        struct err_info info = {0};
        enum err e = document_send(p, hint->device, now, &info);
        if (e == ERR_OK) {
            outage_end(&p->outage);
            continue;
        }
        outage_begin(&p->outage, e, &info);
        if (e == ERR_UNAVAILABLE) { /* forget the rest: beats bring it again */
            stopper_rest(&p->stopper, RETRY_MS);
            return;
        }
    }
}

static void *publisher_run(void *arg)
{
    struct publisher *p = arg;
    while (!stopper_stopping(&p->stopper)) {
        struct queue_node *list = queue_take(mqtt_link_hints(p->link), TAKE_MAX, SIZE_MAX, TAKE_WAIT_MS);
        hints_work(p, list);
        queue_list_free(list);
    }
    return NULL;
}

enum err publisher_start(const struct publisher_settings *settings, struct publisher **ret_publisher,
                         struct err_info *info)
{
    struct publisher *p = calloc(1, sizeof *p);
    if (p == NULL)
        return ERR_NO_MEMORY;
    p->link = settings->link;
    p->beat_s = settings->beat_s;
    p->outage.name = "publisher";
    stopper_init(&p->stopper);
    enum err e = db_new(settings->database_url, "musterd publisher", settings->statement_timeout_ms, &p->db);
    if (e == ERR_OK && pthread_create(&p->thread, NULL, publisher_run, p) != 0)
        e = ERR_NO_MEMORY;
    if (e != ERR_OK) {
        db_free(p->db);
        stopper_clear(&p->stopper);
        free(p);
        return err_set(info, e, "cannot start the publisher's thread");
    }
    *ret_publisher = p;
    return ERR_OK;
}

void publisher_stop(struct publisher *p)
{
    if (p == NULL)
        return;
    stopper_stop(&p->stopper);
    queue_close(mqtt_link_hints(p->link));
    (void)pthread_join(p->thread, NULL);
    db_free(p->db);
    stopper_clear(&p->stopper);
    free(p);
}
