#include "server/mqtt/writer.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/text.h"
#include "server/store/device.h"
#include "server/store/device_slot.h"
#include "server/store/drift.h"
#include "server/store/health.h"
#include "server/store/infer.h"
#include "server/store/liveness.h"
#include "server/store/spool.h"

#include <stdlib.h>

/* One run of the transaction. Only what is in here changes before the commit, so that it can be run again. */
struct job {
    struct delivery *deliveries;
    size_t count;
    double beat_s;
    struct device_standing *standings;
    size_t standing_count;
    const struct device_standing *standing[WRITER_MAX]; /* of each delivery's device; NULL: unknown, or not ready */
    bool fresh[WRITER_MAX];
};

static bool is_data(const struct job *job, size_t i)
{
    return job->standing[i] != NULL && job->deliveries[i].message->kind == MESSAGE_DATA;
}

static const struct device_standing *standing_find(const struct job *job, const char *device_id)
{
    for (size_t i = 0; i < job->standing_count; i++)
        if (text_eq(job->standings[i].id, device_id))
            return &job->standings[i];
    return NULL;
}

static enum err standings_read(struct db *db, struct job *job, struct err_info *info)
{
    const char *ids[WRITER_MAX];
    for (size_t i = 0; i < job->count; i++)
        ids[i] = job->deliveries[i].message->device;
    free(job->standings);
    job->standings = NULL;
    enum err e = liveness_standing(db, ids, job->count, &job->standings, &job->standing_count, info);
    for (size_t i = 0; e == ERR_OK && i < job->count; i++)
        job->standing[i] = job->deliveries[i].outcome == DELIVERY_READY ? standing_find(job, ids[i]) : NULL;
    return e;
}

/* The change of this device, made if it has none yet. */
static struct liveness_change *change_of(struct liveness_change *changes, size_t *count, const char *device_id)
{
    for (size_t i = 0; i < *count; i++)
        if (text_eq(changes[i].device_id, device_id))
            return &changes[i];
    changes[*count] = (struct liveness_change){.device_id = device_id, .presence = PRESENCE_NONE};
    return &changes[(*count)++];
}

static size_t changes_collect(const struct job *job, struct liveness_change changes[WRITER_MAX])
{
    size_t count = 0;
    int64_t now = clock_mono_ms();
    for (size_t i = 0; i < job->count; i++) {
        const struct delivery *d = &job->deliveries[i];
        if (job->standing[i] == NULL || d->message->kind == MESSAGE_DATA)
            continue;
        struct presence *p = &change_of(changes, &count, d->message->device)->presence;
        int64_t age = now - d->message->received_ms;
        if (d->message->kind == MESSAGE_HELLO)
            presence_hello(p, &d->hello, age);
        else if (d->message->kind == MESSAGE_BEAT)
            presence_beat(p, &d->beat, age);
        else
            presence_gone(p, &d->gone, age);
    }
    return count;
}

static enum err presence_write(struct db *db, const struct job *job, struct err_info *info)
{
    struct liveness_change changes[WRITER_MAX];
    struct device_slots slots[WRITER_MAX];
    size_t slot_count = 0;
    size_t count = changes_collect(job, changes);
    enum err e = liveness_apply(db, changes, count, job->beat_s, info);
    for (size_t i = 0; e == ERR_OK && i < count; i++)
        if (changes[i].taken && changes[i].presence.beat != NULL)
            slots[slot_count++] = (struct device_slots){changes[i].device_id, changes[i].presence.beat};
    return e != ERR_OK ? e : device_slot_replace(db, slots, slot_count, info);
}

static enum err positions_take(struct db *db, struct job *job, struct err_info *info)
{
    struct spool_batch batches[WRITER_MAX];
    size_t count = 0;
    for (size_t i = 0; i < job->count; i++)
        if (is_data(job, i))
            batches[count++] = (struct spool_batch){.device_id = job->deliveries[i].message->device,
                                                    .epoch = job->deliveries[i].batch.epoch,
                                                    .seq = job->deliveries[i].batch.seq,
                                                    .items = (int64_t)job->deliveries[i].items};
    enum err e = spool_take(db, batches, count, info);
    size_t n = 0;
    for (size_t i = 0; i < job->count; i++)
        job->fresh[i] = e == ERR_OK && is_data(job, i) && batches[n++].fresh;
    return e;
}

static enum err rows_write(struct db *db, const struct job *job, struct err_info *info)
{
    const struct buf *health[WRITER_MAX];
    const struct buf *infer[WRITER_MAX];
    const struct buf *drift[WRITER_MAX];
    size_t count = 0;
    for (size_t i = 0; i < job->count; i++)
        if (job->fresh[i]) {
            health[count] = &job->deliveries[i].health;
            infer[count] = &job->deliveries[i].infer;
            drift[count++] = &job->deliveries[i].drift;
        }
    enum err e = health_copy(db, health, count, info);
    if (e == ERR_OK)
        e = infer_copy(db, infer, count, info);
    if (e == ERR_OK)
        e = drift_copy(db, drift, count, info);
    return e;
}

static enum err stories_write(struct db *db, const struct job *job, struct err_info *info)
{
    enum err e = ERR_OK;
    for (size_t i = 0; e == ERR_OK && i < job->count; i++) {
        const struct delivery *d = &job->deliveries[i];
        if (!job->fresh[i])
            continue;
        e = event_add_many(db, d->events, d->event_count, info);
        if (e == ERR_OK && d->inventory != NULL)
            e = device_inventory_set(db, d->message->device, d->inventory, info);
    }
    return e;
}

static enum err job_run(struct db *db, void *arg, struct err_info *info)
{
    struct job *job = arg;
    enum err e = standings_read(db, job, info);
    if (e == ERR_OK)
        e = presence_write(db, job, info);
    if (e == ERR_OK)
        e = positions_take(db, job, info);
    if (e == ERR_OK)
        e = rows_write(db, job, info);
    if (e == ERR_OK)
        e = stories_write(db, job, info);
    return e;
}

/* After the commit. */
static void outcomes_set(const struct job *job)
{
    for (size_t i = 0; i < job->count; i++) {
        struct delivery *d = &job->deliveries[i];
        const struct device_standing *standing = job->standing[i];
        if (d->outcome != DELIVERY_READY)
            continue;
        d->outcome = standing == NULL ? DELIVERY_UNKNOWN : DELIVERY_WRITTEN;
        d->fresh = job->fresh[i];
        if (standing == NULL)
            continue;
        bool retold = (float)standing->beat_s != (float)job->beat_s;
        if (d->message->kind == MESSAGE_HELLO)
            d->wants_desired = retold || d->hello.generation != standing->generation;
        else if (d->message->kind == MESSAGE_BEAT)
            d->wants_desired = retold || d->beat.generation != standing->generation;
    }
}

enum err writer_write(struct db *db, struct delivery *deliveries, size_t count, double beat_s, struct err_info *info)
{
    struct job job = {.deliveries = deliveries, .count = count, .beat_s = beat_s};
    enum err e = db_transaction(db, job_run, &job, info);
    if (e == ERR_OK)
        outcomes_set(&job);
    free(job.standings);
    return e;
}
