#include "server/core/message.h"

#include "common/base/json.h"
#include "server/core/field.h"

#include <math.h>
#include <string.h>

enum { PERCENT_MAX = 100 };

static enum err object_expect(const json_t *json, struct err_info *info)
{
    return json_is_object(json) ? ERR_OK : err_set(info, ERR_INVALID, "the message is not a JSON object");
}

enum err hello_parse(const json_t *json, struct hello *ret_hello, struct err_info *info)
{
    struct hello h = {0};
    enum err e = object_expect(json, info);
    if (e == ERR_OK)
        e = json_get_id(json, "session", 1, &h.session, info);
    if (e == ERR_OK)
        e = json_get_text(json, "boot_id", FIELD_NAME_MAX, &h.boot_id, info);
    if (e == ERR_OK)
        e = json_get_text(json, "agent_version", FIELD_NAME_MAX, &h.agent_version, info);
    if (e == ERR_OK)
        e = json_get_id(json, "generation", 0, &h.generation, info);
    if (e == ERR_OK)
        *ret_hello = h;
    return e;
}

/* What a slot says when its update failed; each is null otherwise. */
static enum err slot_failure_parse(const json_t *json, struct beat_slot *slot, struct err_info *info)
{
    static const char *const left[] = {"no_change", "rolled_back", "unable_to_roll_back", NULL};
    enum err e = field_text(json, "stage", FIELD_NAME_MAX, &slot->stage, info);
    if (e == ERR_OK)
        e = field_text(json, "code", FIELD_NAME_MAX, &slot->code, info);
    if (e == ERR_OK)
        e = field_text(json, "detail", FIELD_TEXT_MAX, &slot->detail, info);
    if (e == ERR_OK && json_has(json, "device_left"))
        e = field_word(json, "device_left", left, &slot->device_left, info);
    return e;
}

static enum err slot_parse(const char *name, const json_t *json, struct beat_slot *ret_slot, struct err_info *info)
{
    static const char *const phases[] = {"empty",     "downloading", "verifying", "testing", "staged", "held",
                                         "switching", "probation",   "running",   "failed",  NULL};
    size_t len = strlen(name);
    if (len == 0 || len > FIELD_NAME_MAX)
        return err_field(info, ERR_INVALID, "slots", "a slot's name must have 1 to %d bytes", FIELD_NAME_MAX);
    if (!json_is_object(json))
        return err_field(info, ERR_INVALID, "slots", "slot \"%s\" must be an object", name);
    struct beat_slot slot = {.name = name};
    enum err e = field_word(json, "phase", phases, &slot.phase, info);
    if (e == ERR_OK)
        e = field_bundle_or_null(json, "target", &slot.target, info);
    if (e == ERR_OK)
        e = field_bundle_or_null(json, "running", &slot.running, info);
    if (e == ERR_OK)
        e = field_bundle_or_null(json, "previous", &slot.previous, info);
    if (e == ERR_OK)
        e = json_get_i64(json, "progress", 0, PERCENT_MAX, &slot.progress, info);
    if (e == ERR_OK)
        e = json_get_id(json, "downloaded", 0, &slot.downloaded, info);
    if (e == ERR_OK)
        e = slot_failure_parse(json, &slot, info);
    if (e == ERR_OK)
        *ret_slot = slot;
    return e;
}

static enum err slots_parse(json_t *slots, struct beat *beat, struct err_info *info)
{
    if (json_object_size(slots) > BEAT_SLOTS_MAX)
        return err_field(info, ERR_INVALID, "slots", "more than %d slots", BEAT_SLOTS_MAX);
    const char *name = NULL;
    json_t *slot = NULL;
    json_object_foreach(slots, name, slot)
    {
        enum err e = slot_parse(name, slot, &beat->slots[beat->slot_count], info);
        if (e != ERR_OK)
            return e;
        beat->slot_count++;
    }
    return ERR_OK;
}

enum err beat_parse(const json_t *json, struct beat *ret_beat, struct err_info *info)
{
    struct beat b = {0};
    json_t *slots = NULL;
    enum err e = object_expect(json, info);
    if (e == ERR_OK)
        e = json_get_id(json, "session", 1, &b.session, info);
    if (e == ERR_OK)
        e = json_get_i64(json, "uptime_s", 0, INT64_MAX, &b.uptime_s, info);
    if (e == ERR_OK)
        e = json_get_id(json, "generation", 0, &b.generation, info);
    if (e == ERR_OK)
        e = field_measure(json, "margin_c", -2000, 2000, &b.margin_c, info);
    if (e == ERR_OK)
        e = json_get_bool(json, "throttled", &b.throttled, info);
    if (e == ERR_OK)
        e = json_get_object(json, "slots", &slots, info);
    if (e == ERR_OK)
        e = slots_parse(slots, &b, info);
    if (e != ERR_OK)
        return e;
    *ret_beat = b;
    return ERR_OK;
}

enum err gone_parse(const json_t *json, struct gone *ret_gone, struct err_info *info)
{
    enum err e = object_expect(json, info);
    return e != ERR_OK ? e : json_get_id(json, "session", 1, &ret_gone->session, info);
}

enum err batch_parse(const json_t *json, struct batch *ret_batch, struct err_info *info)
{
    struct batch b = {0};
    enum err e = object_expect(json, info);
    if (e == ERR_OK)
        e = field_name(json, "epoch", &b.epoch, info);
    if (e == ERR_OK &&
        b.epoch[strspn(b.epoch, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-")] != '\0')
        e = err_field(info, ERR_INVALID, "epoch", "\"epoch\" must be of [A-Za-z0-9_-]");
    if (e == ERR_OK)
        e = json_get_id(json, "seq", 1, &b.seq, info);
    if (e == ERR_OK)
        *ret_batch = b;
    return e;
}
