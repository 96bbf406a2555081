#include "agent/core/desired.h"

#include "common/base/json.h"
#include "common/base/text.h"
#include "common/bundle/manifest.h"

#include <string.h>

enum { PROBATION_MAX_S = 86400, BEAT_MAX_S = 3600, OBJECTS_MAX = 64, CRITICAL_MAX = 64 };
#define BEAT_MIN_S 0.2

static enum err bad(struct err_info *info, const char *slot, const char *what)
{
    return err_field(info, ERR_INVALID, slot, "desired document: slot %.63s: %s", slot, what);
}

static enum err hold_parse(const json_t *slot, const char *name, struct desired_hold *hold, struct err_info *info)
{
    if (!json_has(slot, "hold"))
        return ERR_OK;
    const json_t *json = json_object_get(slot, "hold");
    if (!json_is_object(json))
        return bad(info, name, "`hold` is not an object");
    hold->on = true;
    const char *reason = json_text_or_null(json, "reason");
    (void)text_copy(hold->reason, sizeof hold->reason, reason == NULL ? "" : reason);
    const char *owner = json_text_or_null(json, "owner");
    (void)text_copy(hold->owner, sizeof hold->owner, owner == NULL ? "" : owner);
    hold->then_apply = text_eq(json_text_or_null(json, "then"), "apply");
    enum err e = ERR_OK;
    if (json_has(json, "since"))
        e = json_get_i64(json, "since", 1, INT64_MAX, &hold->since_ms, info);
    if (e == ERR_OK && json_has(json, "expires"))
        e = json_get_i64(json, "expires", 1, INT64_MAX, &hold->expires_ms, info);
    return e;
}

static enum err object_parse(const json_t *json, const char *slot, bool delta, struct desired_object *out,
                             struct err_info *info)
{
    const char *sha256 = json_text_or_null(json, "sha256");
    const char *from = json_text_or_null(json, "from");
    if (!text_is_sha256(sha256))
        return bad(info, slot, "an object's `sha256` is not 64 hex digits");
    if (delta && !text_is_sha256(from))
        return bad(info, slot, "the `from` of a delta is not 64 hex digits");
    *out = (struct desired_object){0};
    enum err e = json_get_id(json, "size", 1, &out->size, info);
    if (e == ERR_OK && out->size > MANIFEST_SIZE_MAX)
        e = bad(info, slot, "an object is larger than 1 TiB");
    (void)text_copy(out->sha256, sizeof out->sha256, sha256);
    if (delta)
        (void)text_copy(out->from, sizeof out->from, from);
    return e;
}

/* Takes the objects this agent can use; the others are for newer agents. Of more than there is room for a full one must
 * not be lost. */
static enum err objects_parse(const json_t *slot, struct desired_slot *out, struct err_info *info)
{
    json_t *objects = NULL;
    bool full_there = false;
    enum err e = json_get_array(slot, "objects", OBJECTS_MAX, &objects, info);
    for (size_t i = 0; e == ERR_OK && i < json_array_size(objects); i++) {
        const json_t *json = json_array_get(objects, i);
        struct desired_object object;
        const char *encoding = json_text_or_null(json, "encoding");
        bool full = text_eq(encoding, "full");
        bool room = out->object_count < DESIRED_OBJECTS_MAX;
        if ((!full && !text_eq(encoding, "delta")) || (!room && (!full || full_there)))
            continue;
        e = object_parse(json, out->name, !full, &object, info);
        full_there = full_there || full;
        if (e == ERR_OK)
            out->objects[room ? out->object_count++ : DESIRED_OBJECTS_MAX - 1] = object;
    }
    return e;
}

static enum err slot_parse(const char *name, const json_t *json, struct desired_slot *out, struct err_info *info)
{
    const char *version = NULL;
    int64_t probation = 0;
    if (!manifest_slot_ok(name))
        return bad(info, name, "this is not a slot's name");
    if (!json_is_object(json))
        return bad(info, name, "not an object");
    (void)text_copy(out->name, sizeof out->name, name);
    if (!text_is_sha256(json_text_or_null(json, "bundle")))
        return bad(info, name, "`bundle` is not 64 hex digits");
    (void)text_copy(out->bundle, sizeof out->bundle, json_text_or_null(json, "bundle"));
    enum err e = json_get_text(json, "version", SLOT_VERSION_SIZE - 1, &version, info);
    if (e == ERR_OK)
        e = json_get_i64(json, "probation_s", 0, PROBATION_MAX_S, &probation, info);
    if (e != ERR_OK)
        return e;
    (void)text_copy(out->version, sizeof out->version, version);
    out->probation_s = (int)probation;
    if (json_has(json, "asked"))
        e = json_get_id(json, "asked", 1, &out->asked, info);
    if (e == ERR_OK)
        e = objects_parse(json, out, info);
    return e == ERR_OK ? hold_parse(json, name, &out->hold, info) : e;
}

/* What a server may call critical: every member this parser acts on. */
static bool name_known(const char *name)
{
    static const char *const known[] = {"generation",  "beat_s", "slots",   "critical", "bundle", "version",
                                        "probation_s", "asked",  "objects", "hold",     "from",   NULL};
    for (size_t i = 0; known[i] != NULL; i++)
        if (text_eq(name, known[i]))
            return true;
    return false;
}

static enum err critical_parse(const json_t *doc, struct desired *out, struct err_info *info)
{
    json_t *names = NULL;
    if (!json_has(doc, "critical"))
        return ERR_OK;
    enum err e = json_get_array(doc, "critical", CRITICAL_MAX, &names, info);
    for (size_t i = 0; e == ERR_OK && i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        if (name == NULL)
            return err_set(info, ERR_INVALID, "desired document: `critical` holds something that is not a name");
        if (!name_known(name) && out->unknown[0] == '\0')
            (void)text_copy(out->unknown, sizeof out->unknown, name[0] == '\0' ? "?" : name);
    }
    return e;
}

static enum err document_parse(const json_t *doc, struct desired *out, struct err_info *info)
{
    double beat_s = 0;
    json_t *slots = NULL;
    enum err e = json_get_id(doc, "generation", 0, &out->generation, info);
    if (e == ERR_OK)
        e = json_get_f64(doc, "beat_s", BEAT_MIN_S, BEAT_MAX_S, &beat_s, info);
    if (e == ERR_OK)
        e = critical_parse(doc, out, info);
    if (e == ERR_OK)
        e = json_get_object(doc, "slots", &slots, info);
    if (e != ERR_OK)
        return e;
    out->beat_ms = (int64_t)(beat_s * 1000);
    if (json_object_size(slots) > SLOT_COUNT_MAX)
        return err_set(info, ERR_TOO_LARGE, "desired document: more than %d slots", SLOT_COUNT_MAX);
    const char *name = NULL;
    json_t *slot = NULL;
    json_object_foreach(slots, name, slot)
    {
        e = slot_parse(name, slot, &out->slots[out->slot_count], info);
        if (e != ERR_OK)
            return e;
        out->slot_count++;
    }
    return ERR_OK;
}

enum err desired_parse(const char *text, size_t len, struct desired *ret_desired, struct err_info *info)
{
    json_t *doc = NULL;
    enum err e = json_parse(text, len, JSON_BYTES_MAX, &doc, info);
    if (e != ERR_OK)
        return e;
    struct desired desired = {0};
    e = json_is_object(doc) ? document_parse(doc, &desired, info)
                            : err_set(info, ERR_INVALID, "desired document: not an object");
    json_decref(doc);
    if (e == ERR_OK)
        *ret_desired = desired;
    return e;
}

bool desired_hold_active(const struct desired_hold *hold, int64_t now_ms)
{
    if (!hold->on)
        return false;
    bool expired = hold->expires_ms != 0 && now_ms >= hold->expires_ms;
    return !(expired && hold->then_apply);
}
