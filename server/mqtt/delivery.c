#include "server/mqtt/delivery.h"

#include "common/base/json.h"
#include "common/base/text.h"
#include "server/core/item.h"
#include "server/store/drift.h"
#include "server/store/health.h"
#include "server/store/infer.h"

#include <stdio.h>
#include <stdlib.h>

enum { ROWS_MAX = 4 * JSON_BYTES_MAX }; /* escapes make rows longer than the JSON they came in */

void delivery_refuse(struct delivery *d, const char *reason)
{
    bool answerable = d->message->kind == MESSAGE_DATA && d->batch.epoch != NULL;
    d->outcome = answerable ? DELIVERY_REFUSED : DELIVERY_UNREADABLE;
    (void)text_copy(d->reason, sizeof d->reason, reason);
}

static enum err event_put(struct delivery *d, const char *kind, int64_t t, json_t *data)
{
    if (data == NULL)
        return ERR_NO_MEMORY;
    if (d->event_count == d->event_room_) {
        size_t room = d->event_room_ == 0 ? 8 : 2 * d->event_room_;
        struct event_entry *events = realloc(d->events, room * sizeof *events);
        if (events == NULL) {
            json_decref(data);
            return ERR_NO_MEMORY;
        }
        d->events = events;
        d->event_room_ = room;
    }
    d->events[d->event_count++] = (struct event_entry){
        .kind = kind, .actor = d->actor_, .device_id = d->message->device, .data = data, .t_ms = t};
    return ERR_OK;
}

static enum err report_read(struct delivery *d, const json_t *item, struct err_info *info)
{
    struct item_report r;
    enum err e = item_report_parse(item, &r, info);
    if (e != ERR_OK)
        return e;
    return event_put(d, "device.update", r.t,
                     json_pack("{s:s, s:s, s:s, s:s?, s:s?}", "slot", r.slot, "bundle", r.bundle, "step", r.step,
                               "code", r.code, "detail", r.detail));
}

static enum err event_read(struct delivery *d, const json_t *item, struct err_info *info)
{
    struct item_event v;
    enum err e = item_event_parse(item, &v, info);
    if (e != ERR_OK)
        return e;
    return event_put(d, "device.event", v.t,
                     json_pack("{s:s, s:s?, s:s?}", "name", v.name, "slot", v.slot, "detail", v.detail));
}

static enum err health_read(struct delivery *d, const json_t *item, struct err_info *info)
{
    struct item_health health;
    enum err e = item_health_parse(item, &health, info);
    return e != ERR_OK ? e : health_row_add(&d->health, d->message->device, &health);
}

static enum err infer_read(struct delivery *d, const json_t *item, struct err_info *info)
{
    struct item_infer infer;
    enum err e = item_infer_parse(item, &infer, info);
    return e != ERR_OK ? e : infer_row_add(&d->infer, d->message->device, &infer);
}

static enum err drift_read(struct delivery *d, const json_t *item, struct err_info *info)
{
    struct item_drift drift;
    enum err e = item_drift_parse(item, &drift, info);
    return e != ERR_OK ? e : drift_row_add(&d->drift, d->message->device, &drift);
}

static enum err item_read(struct delivery *d, const json_t *item, struct err_info *info)
{
    enum item_kind kind = ITEM_UNKNOWN;
    struct item_inventory inventory;
    enum err e = item_kind_parse(item, &kind, info);
    if (e != ERR_OK)
        return e;
    switch (kind) {
    case ITEM_HEALTH:
        return health_read(d, item, info);
    case ITEM_INFER:
        return infer_read(d, item, info);
    case ITEM_DRIFT:
        return drift_read(d, item, info);
    case ITEM_REPORT:
        return report_read(d, item, info);
    case ITEM_EVENT:
        return event_read(d, item, info);
    case ITEM_INVENTORY:
        d->inventory = item;
        return item_inventory_parse(item, &inventory, info);
    case ITEM_UNKNOWN:
        return ERR_OK;
    }
    return ERR_OK;
}

static enum err data_read(struct delivery *d, struct err_info *info)
{
    json_t *items = NULL;
    enum err e = batch_parse(d->json, &d->batch, info);
    if (e == ERR_OK)
        e = json_get_array(d->json, "items", ITEMS_MAX, &items, info);
    if (e != ERR_OK)
        return e;
    d->items = json_array_size(items);
    for (size_t i = 0; i < d->items; i++) {
        struct err_info why = {0};
        e = item_read(d, json_array_get(items, i), &why);
        if (e != ERR_OK)
            return err_field(info, e, "items", "items[%zu]: %s", i, why.text[0] == '\0' ? err_name(e) : why.text);
    }
    return ERR_OK;
}

static enum err body_read(struct delivery *d, struct err_info *info)
{
    enum err e = json_parse(d->message->payload, d->message->len, JSON_BYTES_MAX, &d->json, info);
    if (e != ERR_OK)
        return e;
    switch (d->message->kind) {
    case MESSAGE_HELLO:
        return hello_parse(d->json, &d->hello, info);
    case MESSAGE_BEAT:
        return beat_parse(d->json, &d->beat, info);
    case MESSAGE_GONE:
        return gone_parse(d->json, &d->gone, info);
    case MESSAGE_DATA:
        return data_read(d, info);
    }
    return ERR_INTERNAL;
}

void delivery_read(const struct inbox_message *message, struct delivery *ret_delivery)
{
    struct delivery *d = ret_delivery;
    *d = (struct delivery){
        .message = message, .health = BUF_INIT(ROWS_MAX), .infer = BUF_INIT(ROWS_MAX), .drift = BUF_INIT(ROWS_MAX)};
    (void)snprintf(d->actor_, sizeof d->actor_, "device:%s", message->device);
    struct err_info info = {0};
    enum err e = body_read(d, &info);
    if (e != ERR_OK)
        delivery_refuse(d, info.text[0] == '\0' ? err_name(e) : info.text);
}

void delivery_clear(struct delivery *d)
{
    buf_free(&d->health);
    buf_free(&d->infer);
    buf_free(&d->drift);
    for (size_t i = 0; i < d->event_count; i++)
        json_decref(d->events[i].data);
    free(d->events);
    json_decref(d->json);
}
