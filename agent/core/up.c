#include "agent/core/up.h"

#include "agent/core/clean.h"
#include "common/base/json.h"
#include "common/base/version.h"

#include <stdlib.h>
#include <string.h>

/* Prints and gives the document up; json may be NULL. */
static enum err print_and_free(json_t *json, char **ret_text)
{
    enum err e = json_print(json, ret_text, NULL);
    json_decref(json);
    return e;
}

/* Details may come from another program, or be cut inside a character. */
static json_t *text_or_null(const char *text)
{
    if (text == NULL || *text == '\0')
        return json_null();
    char *copy = strdup(text);
    if (copy == NULL)
        return NULL;
    clean_text(copy);
    json_t *json = json_string(copy);
    free(copy);
    return json;
}

enum err up_hello(const struct up_hello *hello, char **ret_text)
{
    json_t *json = json_pack("{so ss ss so s{ss so so}}", "session", json_id(hello->session), "boot_id", hello->boot_id,
                             "agent_version", MUSTER_VERSION, "generation", json_id(hello->generation), "spool",
                             "epoch", hello->epoch, "first", json_id(hello->first), "last", json_id(hello->last));
    return print_and_free(json, ret_text);
}

enum err up_gone(int64_t session, char **ret_text)
{
    return print_and_free(json_pack("{so}", "session", json_id(session)), ret_text);
}

/* Percent of the download; all of it once there is nothing left to fetch. */
static int slot_progress(const struct up_slot *slot)
{
    const struct update_row *row = slot->row;
    bool fetching = row->phase == UPDATE_DOWNLOADING || (row->phase == UPDATE_FAILED && row->downloaded < slot->size);
    if (!fetching)
        return row->want.bundle[0] == '\0' ? 0 : 100;
    if (slot->size <= 0 || row->downloaded <= 0)
        return 0;
    return row->downloaded >= slot->size ? 100 : (int)(row->downloaded * 100 / slot->size);
}

static json_t *slot_json(const struct up_slot *slot)
{
    const struct update_row *row = slot->row;
    return json_pack("{ss so so so si so so so so so}", "phase", update_phase_wire(row), "target",
                     text_or_null(row->want.bundle), "running", text_or_null(slot->running), "previous",
                     text_or_null(row->previous), "progress", slot_progress(slot), "downloaded",
                     json_id(row->downloaded), "stage", text_or_null(row->stage), "code", text_or_null(row->code),
                     "detail", text_or_null(row->detail), "device_left", text_or_null(row->device_left));
}

enum err up_beat(const struct up_beat *beat, char **ret_text)
{
    json_t *slots = json_object();
    bool complete = slots != NULL;
    for (size_t i = 0; complete && i < beat->slot_count; i++)
        complete = json_object_set_new(slots, beat->slots[i].row->slot, slot_json(&beat->slots[i])) == 0;
    if (!complete) {
        json_decref(slots);
        return ERR_NO_MEMORY;
    }
    json_t *margin = beat->has_margin ? json_real(beat->margin_c) : json_null();
    json_t *json = json_pack("{so sI sI so so sb so}", "session", json_id(beat->session), "t", (json_int_t)beat->t,
                             "uptime_s", (json_int_t)beat->uptime_s, "generation", json_id(beat->generation),
                             "margin_c", margin, "throttled", beat->throttled, "slots", slots);
    return print_and_free(json, ret_text);
}

enum err up_report(int64_t t, const char *slot, const char *bundle, const char *step, const char *code,
                   const char *detail, char **ret_text)
{
    json_t *json = json_pack("{ss sI ss ss ss so so}", "kind", "report", "t", (json_int_t)t, "slot", slot, "bundle",
                             bundle, "step", step, "code", text_or_null(code), "detail", text_or_null(detail));
    return print_and_free(json, ret_text);
}

enum err up_event(int64_t t, const char *name, const char *slot, const char *detail, char **ret_text)
{
    json_t *json = json_pack("{ss sI ss so so}", "kind", "event", "t", (json_int_t)t, "name", name, "slot",
                             text_or_null(slot), "detail", text_or_null(detail));
    return print_and_free(json, ret_text);
}
