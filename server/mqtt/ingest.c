#include "server/mqtt/ingest.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/crypt.h"
#include "common/base/json.h"
#include "common/base/log.h"
#include "server/mqtt/hints.h"
#include "server/mqtt/inbox.h"
#include "server/mqtt/link.h"
#include "server/mqtt/tally.h"
#include "server/mqtt/writer.h"
#include "server/store/partition.h"
#include "server/thread/outage.h"
#include "server/thread/stopper.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    BATCH_BYTES_MAX = 4 * 1024 * 1024,
    TAKE_WAIT_MS = 10 * 1000,
    RETRY_MIN_MS = 200,
    RETRY_MAX_MS = 5000,
    KEEP_EVERY_MS = 60 * 60 * 1000,
    KEEP_RETRY_MS = 10 * 1000,
};

struct writer {
    struct ingest *ingest;
    struct queue *part;
    struct db *db;
    pthread_t thread;
    int64_t retry_ms; /* how long to leave the database alone after the next failure */
    uint64_t dropped; /* what the part had dropped when we last looked */
    struct tally refused, unreadable, unknown, overflow;
    struct delivery deliveries[WRITER_MAX];
};

struct ingest {
    struct mqtt_link *link;
    double beat_s;
    struct outage outage;
    struct stopper stopper;
    struct db *keeper_db;
    pthread_t keeper;
    bool keeper_runs;
    int writer_count; /* whose threads run */
    struct writer *writers;
};

/* ---------------------------------------------------------------- writers */

/* {"epoch", "seq"} and, if it was refused, why. */
static void ack_send(struct ingest *in, const struct delivery *d)
{
    json_auto_t *ack = json_pack("{s:s, s:o, s:s*}", "epoch", d->batch.epoch, "seq", json_id(d->batch.seq), "refused",
                                 d->outcome == DELIVERY_REFUSED ? d->reason : NULL);
    cleanup_free char *text = NULL;
    size_t len = 0;
    if (json_print(ack, &text, &len) == ERR_OK) /* else the device sends it again */
        mqtt_link_send(in->link, d->message->device, "ack", text, len);
}

static void delivery_answer(struct writer *w, const struct delivery *d, int64_t now)
{
    const char *device = d->message->device;
    switch (d->outcome) {
    case DELIVERY_READY:
        break; /* not written: no answer */
    case DELIVERY_WRITTEN:
        if (d->message->kind == MESSAGE_DATA)
            ack_send(w->ingest, d);
        else if (d->wants_desired)
            hints_put(mqtt_link_hints(w->ingest->link), device, d->message->kind == MESSAGE_HELLO);
        break;
    case DELIVERY_REFUSED:
        tally_add(&w->refused, 1, device, d->reason, now);
        ack_send(w->ingest, d);
        break;
    case DELIVERY_UNREADABLE:
        tally_add(&w->unreadable, 1, device, d->reason, now);
        break;
    case DELIVERY_UNKNOWN:
        tally_add(&w->unknown, 1, device, "no such device, or it is retired", now);
        break;
    }
}

/* The data is at fault, not the database. */
static bool is_data_error(enum err e)
{
    return e == ERR_INVALID || e == ERR_TOO_LARGE;
}

/* One alone. What the database does not take is refused; twice, because a partition that was made in the meantime
 * fails the first try, too. */
static enum err single_write(struct writer *w, struct delivery *d, struct err_info *info)
{
    enum err e = writer_write(w->db, d, 1, w->ingest->beat_s, info);
    if (is_data_error(e))
        e = writer_write(w->db, d, 1, w->ingest->beat_s, info);
    if (!is_data_error(e))
        return e;
    delivery_refuse(d, info->text);
    return ERR_OK;
}

/* All in one transaction; if something in them is at fault, each in its own. An error: the database is not there for
 * us; what is still DELIVERY_READY was not written. */
static enum err deliveries_write(struct writer *w, size_t count, struct err_info *info)
{
    enum err e = writer_write(w->db, w->deliveries, count, w->ingest->beat_s, info);
    if (e == ERR_OK || e == ERR_UNAVAILABLE || e == ERR_TIMEOUT || e == ERR_NO_SPACE)
        return e;
    e = ERR_OK;
    for (size_t i = 0; i < count; i++) {
        enum err single =
            w->deliveries[i].outcome == DELIVERY_READY ? single_write(w, &w->deliveries[i], info) : ERR_OK;
        if (single == ERR_UNAVAILABLE)
            return single;
        if (single != ERR_OK)
            e = single;
    }
    return e;
}

static void batch_work(struct writer *w, const struct queue_node *list)
{
    size_t count = 0;
    bool any = false;
    for (const struct queue_node *node = list; node != NULL; node = node->next) {
        delivery_read((const struct inbox_message *)node, &w->deliveries[count]);
        any |= w->deliveries[count++].outcome == DELIVERY_READY;
    }
    struct err_info info = {0};
    enum err e = any ? deliveries_write(w, count, &info) : ERR_OK;
    int64_t now = clock_mono_ms();
    for (size_t i = 0; i < count; i++) {
        delivery_answer(w, &w->deliveries[i], now);
        delivery_clear(&w->deliveries[i]);
    }
    if (e == ERR_OK && any) {
        outage_end(&w->ingest->outage);
        w->retry_ms = RETRY_MIN_MS;
    } else if (e != ERR_OK) {
        outage_begin(&w->ingest->outage, e, &info);
        stopper_rest(&w->ingest->stopper, w->retry_ms / 2 + (int64_t)(random_unit() * (double)w->retry_ms / 2));
        w->retry_ms = w->retry_ms * 2 < RETRY_MAX_MS ? w->retry_ms * 2 : RETRY_MAX_MS;
    }
}

static void *writer_run(void *arg)
{
    struct writer *w = arg;
    while (!stopper_stopping(&w->ingest->stopper)) {
        struct queue_node *list = queue_take(w->part, WRITER_MAX, BATCH_BYTES_MAX, TAKE_WAIT_MS);
        if (list != NULL)
            batch_work(w, list);
        queue_list_free(list);
        uint64_t dropped = queue_dropped(w->part);
        tally_add(&w->overflow, (int64_t)(dropped - w->dropped), "", "more arrives than the database takes",
                  clock_mono_ms());
        w->dropped = dropped;
    }
    return NULL;
}

/* ---------------------------------------------------------------- day partitions */

static void *keeper_run(void *arg)
{
    struct ingest *in = arg;
    bool told = false;
    while (!stopper_stopping(&in->stopper)) {
        struct err_info info = {0};
        int made = 0;
        enum err e = partition_prepare(in->keeper_db, &made, &info);
        if (e != ERR_OK && !told)
            log_warn("partitions_late", "error=%s reason=\"%s\"", err_name(e), info.text);
        else if (e == ERR_OK && made > 0)
            log_info("partitions_made", "count=%d", made);
        told = e != ERR_OK;
        stopper_rest(&in->stopper, e == ERR_OK ? KEEP_EVERY_MS : KEEP_RETRY_MS);
    }
    return NULL;
}

/* ---------------------------------------------------------------- start and stop */

static enum err writer_start(struct ingest *in, const struct ingest_settings *settings, int part)
{
    struct writer *w = &in->writers[part];
    w->ingest = in;
    w->part = inbox_part(mqtt_link_inbox(in->link), part);
    w->retry_ms = RETRY_MIN_MS;
    w->refused.event = "data_refused";
    w->unreadable.event = "message_unreadable";
    w->unknown.event = "device_unknown";
    w->overflow.event = "inbox_overflow";
    enum err e = db_new(settings->database_url, "musterd ingest", settings->statement_timeout_ms, &w->db);
    if (e == ERR_OK && pthread_create(&w->thread, NULL, writer_run, w) != 0)
        e = ERR_NO_MEMORY;
    if (e == ERR_OK)
        in->writer_count++;
    else
        db_free(w->db);
    return e;
}

static enum err threads_start(struct ingest *in, const struct ingest_settings *settings)
{
    enum err e = db_new(settings->database_url, "musterd partitions", settings->statement_timeout_ms, &in->keeper_db);
    if (e != ERR_OK)
        return e;
    if (pthread_create(&in->keeper, NULL, keeper_run, in) != 0)
        return ERR_NO_MEMORY;
    in->keeper_runs = true;
    int parts = inbox_parts(mqtt_link_inbox(in->link));
    in->writers = calloc((size_t)parts, sizeof *in->writers);
    if (in->writers == NULL)
        return ERR_NO_MEMORY;
    for (int part = 0; e == ERR_OK && part < parts; part++)
        e = writer_start(in, settings, part);
    return e;
}

enum err ingest_start(const struct ingest_settings *settings, struct ingest **ret_ingest, struct err_info *info)
{
    struct ingest *in = calloc(1, sizeof *in);
    if (in == NULL)
        return ERR_NO_MEMORY;
    in->link = settings->link;
    in->beat_s = settings->beat_s;
    in->outage.name = "ingest";
    stopper_init(&in->stopper);
    enum err e = threads_start(in, settings);
    if (e != ERR_OK) {
        ingest_stop(in);
        return err_set(info, e, "cannot start the ingest threads");
    }
    *ret_ingest = in;
    return ERR_OK;
}

void ingest_stop(struct ingest *in)
{
    if (in == NULL)
        return;
    stopper_stop(&in->stopper);
    inbox_close(mqtt_link_inbox(in->link));
    for (int i = 0; i < in->writer_count; i++) {
        (void)pthread_join(in->writers[i].thread, NULL);
        db_free(in->writers[i].db);
    }
    if (in->keeper_runs)
        (void)pthread_join(in->keeper, NULL);
    db_free(in->keeper_db);
    free(in->writers);
    stopper_clear(&in->stopper);
    free(in);
}
