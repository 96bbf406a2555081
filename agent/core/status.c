#include "agent/core/status.h"

#include "agent/core/clean.h"
#include "common/base/buf.h"
#include "common/base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { TIME_SIZE = 32, WORDS_MAX = 64 * 1024 };

/* ---- pieces of text ---- */

/* A version, or the beginning of the bundle's id when its version is not known. */
static const char *version_text(const char *version, const char *bundle, char out[SLOT_VERSION_SIZE])
{
    if (version[0] != '\0')
        (void)text_copy(out, SLOT_VERSION_SIZE, version);
    else if (bundle[0] != '\0')
        (void)snprintf(out, SLOT_VERSION_SIZE, "bundle %.12s", bundle);
    else
        (void)text_copy(out, SLOT_VERSION_SIZE, "nothing");
    return out;
}

/* "2026-11-21 14:02:16", local time. */
static const char *time_text(int64_t ms, char out[TIME_SIZE])
{
    struct tm parts;
    time_t seconds = (time_t)(ms / 1000);
    if (localtime_r(&seconds, &parts) == NULL || strftime(out, TIME_SIZE, "%Y-%m-%d %H:%M:%S", &parts) == 0)
        (void)text_copy(out, TIME_SIZE, "an unknown time");
    return out;
}

static double megabytes(int64_t bytes)
{
    return (double)bytes / 1e6;
}

/* ---- one sentence ---- */

static void say_download(const struct status_slot *s, const char *target, char out[STATUS_TEXT_SIZE])
{
    char from[SLOT_VERSION_SIZE];
    const struct desired_object *object = &s->row->object;
    bool delta = object->from[0] != '\0';
    int64_t size = object->size;
    int64_t done = s->row->downloaded;
    if (object->sha256[0] == '\0') {
        (void)snprintf(out, STATUS_TEXT_SIZE, "about to download %s", target);
        return;
    }
    (void)snprintf(out, STATUS_TEXT_SIZE, "downloading %s %s%s: %.1f of %.1f MB, %d %%", target,
                   delta ? "as a delta from " : "in full",
                   delta ? version_text(s->from_version, object->from, from) : "", megabytes(done), megabytes(size),
                   size > 0 ? (int)(done * 100 / size) : 0);
}

static void say_verify(const struct status_slot *s, const char *target, char out[STATUS_TEXT_SIZE])
{
    char from[SLOT_VERSION_SIZE];
    const struct desired_object *object = &s->row->object;
    if (object->from[0] == '\0')
        (void)snprintf(out, STATUS_TEXT_SIZE, "verifying and unpacking %s", target);
    else
        (void)snprintf(out, STATUS_TEXT_SIZE, "rebuilding %s from %s and verifying it", target,
                       version_text(s->from_version, object->from, from));
}

static void say_hold(const struct status_slot *s, const char *target, char out[STATUS_TEXT_SIZE])
{
    char since[TIME_SIZE] = "";
    char until[TIME_SIZE] = "";
    const struct desired_hold *hold = &s->row->want.hold;
    if (hold->since_ms > 0)
        (void)time_text(hold->since_ms, since);
    if (hold->expires_ms > 0)
        (void)time_text(hold->expires_ms, until);
    (void)snprintf(out, STATUS_TEXT_SIZE, "%s is ready and held%s%s%s%s%s%s%s%s", target,
                   hold->owner[0] != '\0' ? " by " : "", hold->owner, since[0] != '\0' ? " since " : "", since,
                   until[0] == '\0'   ? ""
                   : hold->then_apply ? ", to be applied at "
                                      : ", to be given up at ",
                   until, hold->reason[0] != '\0' ? ": " : "", hold->reason);
}

static void say_probation(const struct status_slot *s, const char *target, char out[STATUS_TEXT_SIZE])
{
    int most = s->row->want.probation_s;
    if (!s->ready) {
        (void)snprintf(out, STATUS_TEXT_SIZE, "%s is to be in probation for %d s, and is being started", target, most);
        return;
    }
    int n = snprintf(out, STATUS_TEXT_SIZE, "%s in probation: %" PRId64 " of %d s", target,
                     s->elapsed_s < most ? s->elapsed_s : most, most);
    if (text_eq(s->kind, "model"))
        (void)snprintf(out + n, STATUS_TEXT_SIZE - (size_t)n, ", %" PRId64 " inferences, %" PRId64 " errors", s->count,
                       s->errors);
}

/* "failed at the self-test", by the stage of a beat. */
static const char *stage_text(const char *stage)
{
    static const struct {
        const char *stage, *text;
    } stages[] = {{"download", "failed at the download"}, {"verify", "failed at the verification"},
                  {"stage", "failed at the staging"},     {"test", "failed at the self-test"},
                  {"switch", "failed at the switch"},     {"probation", "failed in its probation"}};
    for (size_t i = 0; stage != NULL && i < sizeof stages / sizeof stages[0]; i++)
        if (text_eq(stage, stages[i].stage))
            return stages[i].text;
    return "failed";
}

static void say_failed(const struct status_slot *s, const char *target, const char *committed,
                       char out[STATUS_TEXT_SIZE])
{
    const struct update_row *row = s->row;
    bool nothing = row->committed[0] == '\0';
    if (text_eq(row->code, "rolled_back_locally")) {
        (void)snprintf(out, STATUS_TEXT_SIZE, "%s; %s runs%s until the server asks for another version",
                       row->detail[0] == '\0' ? "taken back at the device" : row->detail, committed,
                       text_eq(row->device_left, "unable_to_roll_back") ? ", though not well," : "");
        return;
    }
    const char *rest = nothing ? "; nothing is installed" : " runs on";
    if (text_eq(row->device_left, "rolled_back"))
        rest = nothing ? "; nothing is installed" : " runs again";
    if (text_eq(row->device_left, "unable_to_roll_back"))
        rest = " should run again, and does not";
    (void)snprintf(out, STATUS_TEXT_SIZE, "%s %s: %s (%s)%s%s%s", target, stage_text(row->stage), row->detail,
                   row->code, nothing ? "" : "; ", nothing ? "" : committed, rest);
}

void status_sentence(const struct status_slot *s, char ret_text[STATUS_TEXT_SIZE])
{
    char target[SLOT_VERSION_SIZE];
    char committed[SLOT_VERSION_SIZE];
    const struct update_row *row = s->row;
    (void)version_text(s->target_version, row->want.bundle, target);
    (void)version_text(s->committed_version, row->committed, committed);
    switch (row->phase) {
    case UPDATE_IDLE:
        (void)text_copy(ret_text, STATUS_TEXT_SIZE, row->committed[0] == '\0' ? "nothing is installed" : "up to date");
        return;
    case UPDATE_DOWNLOADING:
        say_download(s, target, ret_text);
        return;
    case UPDATE_VERIFYING:
        say_verify(s, target, ret_text);
        return;
    case UPDATE_STAGING:
        (void)snprintf(ret_text, STATUS_TEXT_SIZE, "putting %s beside %s", target, committed);
        return;
    case UPDATE_TESTING:
        (void)snprintf(ret_text, STATUS_TEXT_SIZE, "testing %s beside %s", target, committed);
        return;
    case UPDATE_STAGED:
        (void)snprintf(ret_text, STATUS_TEXT_SIZE, "%s is ready", target);
        return;
    case UPDATE_HELD:
        say_hold(s, target, ret_text);
        return;
    case UPDATE_SWITCHING:
        (void)snprintf(ret_text, STATUS_TEXT_SIZE, "switching from %s to %s", committed, target);
        return;
    case UPDATE_PROBATION:
        say_probation(s, target, ret_text);
        return;
    case UPDATE_RESTORING:
        (void)snprintf(ret_text, STATUS_TEXT_SIZE, "going back to %s: %s (%s)", committed, row->detail, row->code);
        return;
    case UPDATE_WITHDRAWING:
        (void)snprintf(ret_text, STATUS_TEXT_SIZE, "going back from %s to %s: something else is wanted now", target,
                       committed);
        return;
    case UPDATE_FAILED:
        say_failed(s, target, committed, ret_text);
        return;
    case UPDATE_PHASES_:
        break;
    }
    ret_text[0] = '\0';
}

/* ---- JSON ---- */

static json_t *text_or_null(const char *text)
{
    char copy[STATUS_TEXT_SIZE];
    if (text == NULL || *text == '\0')
        return json_null();
    (void)text_copy(copy, sizeof copy, text);
    clean_text(copy);
    return json_string(copy);
}

static json_t *number_or_null(int64_t value, int64_t none)
{
    return value == none ? json_null() : json_integer(value);
}

static json_t *version_json(const char *bundle, const char *version)
{
    return bundle[0] == '\0' ? json_null() : json_pack("{ss so}", "bundle", bundle, "version", text_or_null(version));
}

static json_t *object_json(const struct status_slot *s)
{
    const struct desired_object *object = &s->row->object;
    if (object->sha256[0] == '\0')
        return json_null();
    return json_pack("{ss ss so so so}", "sha256", object->sha256, "encoding",
                     object->from[0] == '\0' ? "full" : "delta", "from", text_or_null(s->from_version), "size",
                     json_id(object->size), "downloaded", json_id(s->row->downloaded));
}

static json_t *hold_json(const struct desired_hold *hold)
{
    return !hold->on ? json_null()
                     : json_pack("{so so so so ss}", "owner", text_or_null(hold->owner), "reason",
                                 text_or_null(hold->reason), "since", number_or_null(hold->since_ms, 0), "expires",
                                 number_or_null(hold->expires_ms, 0), "then", hold->then_apply ? "apply" : "cancel");
}

static json_t *probation_json(const struct status_slot *s)
{
    return s->row->phase != UPDATE_PROBATION
               ? json_null()
               : json_pack("{sb si sI so so}", "ready", (int)s->ready, "seconds", s->row->want.probation_s, "elapsed",
                           (json_int_t)s->elapsed_s, "count", json_id(s->count), "errors", json_id(s->errors));
}

static json_t *slot_json(const struct status_slot *s)
{
    char text[STATUS_TEXT_SIZE];
    const struct update_row *row = s->row;
    status_sentence(s, text);
    json_t *committed = version_json(row->committed, s->committed_version);
    json_t *json = json_pack("{ss so ss so so so so so so so so so}", "slot", row->slot, "kind", text_or_null(s->kind),
                             "phase", update_phase_wire(row), "text", text_or_null(text), "running",
                             text_or_null(s->running), "committed", committed, "since", number_or_null(s->since_ms, 0),
                             "previous", version_json(row->previous, s->previous_version), "target",
                             version_json(row->want.bundle, s->target_version), "counter", json_id(row->counter),
                             "object", object_json(s), "hold", hold_json(&row->want.hold));
    json_t *more = json_pack("{so so so so so}", "probation", probation_json(s), "stage", text_or_null(row->stage),
                             "code", text_or_null(row->code), "detail", text_or_null(row->detail), "device_left",
                             text_or_null(row->device_left));
    bool whole = json != NULL && more != NULL && json_object_update(json, more) == 0;
    json_decref(more);
    if (whole)
        return json;
    json_decref(json);
    return NULL;
}

json_t *status_json(const struct status *s)
{
    json_t *slots = json_array();
    bool whole = slots != NULL;
    for (size_t i = 0; whole && i < s->slot_count; i++)
        whole = json_array_append_new(slots, slot_json(&s->slots[i])) == 0;
    if (!whole) {
        json_decref(slots);
        return NULL;
    }
    return json_pack("{sb ss so so so so so s{so sb so} so s{so so so} s{so so so} so}", "live", (int)s->live,
                     "agent_version", s->agent_version, "uptime_s", s->live ? json_integer(s->uptime_s) : json_null(),
                     "state_dir", text_or_null(s->state_dir), "name", text_or_null(s->name), "device",
                     text_or_null(s->device), "certificate_until", number_or_null(s->certificate_until_ms, 0), "server",
                     "url", text_or_null(s->server_url), "connected", (int)s->connected, "contact",
                     number_or_null(s->contact_ms, 0), "generation", json_id(s->generation), "spool", "items",
                     number_or_null(s->spool_items, -1), "bytes", number_or_null(s->spool_bytes, -1), "limit",
                     number_or_null(s->spool_limit, -1), "disk", "total", number_or_null(s->disk_total, 0), "free",
                     s->disk_total == 0 ? json_null() : json_integer(s->disk_free), "used",
                     s->disk_total == 0 ? json_null() : json_integer(s->disk_total - s->disk_free), "slots", slots);
}

/* ---- words ---- */

/* "5 s ago", "3 min ago", "2 h ago", "4 days ago". */
static const char *ago_text(int64_t then_ms, int64_t now_ms, char out[TIME_SIZE])
{
    long long s = then_ms < now_ms ? (long long)((now_ms - then_ms) / 1000) : 0;
    if (s < 120)
        (void)snprintf(out, TIME_SIZE, "%lld s ago", s);
    else if (s < 7200)
        (void)snprintf(out, TIME_SIZE, "%lld min ago", s / 60);
    else if (s < 172800)
        (void)snprintf(out, TIME_SIZE, "%lld h ago", s / 3600);
    else
        (void)snprintf(out, TIME_SIZE, "%lld days ago", s / 86400);
    return out;
}

static int64_t number(const json_t *json, const char *key)
{
    return (int64_t)json_integer_value(json_object_get(json, key));
}

static enum err server_words(const json_t *json, int64_t now_ms, struct buf *out)
{
    char ago[TIME_SIZE];
    const json_t *server = json_object_get(json, "server");
    const char *url = json_text_or_null(server, "url");
    bool live = json_is_true(json_object_get(json, "live"));
    int64_t contact = number(server, "contact");
    const char *state = json_is_true(json_object_get(server, "connected")) ? "connected" : "not connected";
    enum err e = buf_addf(out, "server     %s%s", url == NULL ? "not known" : url, live ? ", " : "");
    if (e == ERR_OK && live)
        e = buf_addf(out, "%s, last word %s", state, contact == 0 ? "not yet" : ago_text(contact, now_ms, ago));
    if (e == ERR_OK)
        e = buf_addf(out, "; desired state %s\n", json_text_or_null(json, "generation"));
    return e;
}

static enum err device_words(const json_t *json, struct buf *out)
{
    char when[TIME_SIZE];
    const char *name = json_text_or_null(json, "name");
    const char *device = json_text_or_null(json, "device");
    int64_t until = number(json, "certificate_until");
    enum err e = buf_addf(out, "device     %s%s%s", name == NULL ? "" : name, name == NULL ? "" : ", ",
                          device == NULL ? "not enrolled" : device);
    if (e == ERR_OK && until > 0)
        e = buf_addf(out, ", certificate until %s", time_text(until, when));
    return e == ERR_OK ? buf_add_text(out, "\n") : e;
}

static enum err agent_words(const json_t *json, int64_t now_ms, struct buf *out)
{
    char since[TIME_SIZE];
    const char *dir = json_text_or_null(json, "state_dir");
    if (!json_is_true(json_object_get(json, "live")))
        return buf_addf(out, "agent      does not run; this is what its files in %s say\n", dir);
    return buf_addf(out, "agent      %s, started %s, files in %s\n", json_text_or_null(json, "agent_version"),
                    ago_text(now_ms - number(json, "uptime_s") * 1000, now_ms, since), dir);
}

static enum err spool_words(const json_t *spool, struct buf *out)
{
    int64_t limit = json_has(spool, "limit") ? number(spool, "limit") : 0;
    enum err e = buf_addf(out, "spool      %" PRId64 " items wait for the server, %.1f MB", number(spool, "items"),
                          megabytes(number(spool, "bytes")));
    if (e == ERR_OK && limit > 0) /* a small disk's may be less than one */
        e = buf_addf(out, " of at most %.*f MB", limit < 10000000 ? 1 : 0, megabytes(limit));
    return e == ERR_OK ? buf_add_text(out, "\n") : e;
}

static enum err room_words(const json_t *json, struct buf *out)
{
    const json_t *spool = json_object_get(json, "spool");
    const json_t *disk = json_object_get(json, "disk");
    enum err e = ERR_OK;
    if (json_has(spool, "items"))
        e = spool_words(spool, out);
    if (e == ERR_OK && json_has(disk, "total"))
        e = buf_addf(out, "disk       %.1f GB used, %.1f GB free\n", (double)number(disk, "used") / 1e9,
                     (double)number(disk, "free") / 1e9);
    return e;
}

static enum err version_words(const json_t *slot, const char *key, const char *label, struct buf *out)
{
    const json_t *v = json_object_get(slot, key);
    if (!json_is_object(v))
        return buf_addf(out, "  %-8s nothing\n", label);
    const char *version = json_text_or_null(v, "version");
    return buf_addf(out, "  %-8s %s, bundle %.12s", label, version == NULL ? "unknown version" : version,
                    json_text_or_null(v, "bundle"));
}

static enum err slot_words(const json_t *slot, bool live, struct buf *out)
{
    char when[TIME_SIZE];
    const char *kind = json_text_or_null(slot, "kind");
    const char *running = json_text_or_null(slot, "running");
    const json_t *committed = json_object_get(slot, "committed");
    const json_t *target = json_object_get(slot, "target");
    int64_t since = number(slot, "since");
    bool target_runs = json_is_object(target) && text_eq(running, json_text_or_null(target, "bundle"));
    bool proven = running != NULL && text_eq(running, json_text_or_null(committed, "bundle"));
    const json_t *now = target_runs ? target : committed;
    enum err e =
        buf_addf(out, "\nslot %s%s%s%s\n  %-8s %s\n", json_text_or_null(slot, "slot"), kind == NULL ? "" : " (",
                 kind == NULL ? "" : kind, kind == NULL ? "" : ")", "now", json_text_or_null(slot, "text"));
    if (e == ERR_OK)
        e = version_words(slot, now == target ? "target" : "committed", live ? "runs" : "current", out);
    if (e == ERR_OK && json_is_object(now) && since > 0)
        e = buf_addf(out, ", since %s", time_text(since, when));
    if (e == ERR_OK && json_is_object(now))
        e = buf_add_text(out, live && !target_runs && !proven ? ", BUT IS NOT RUNNING NOW\n" : "\n");
    if (e == ERR_OK)
        e = version_words(slot, "previous", "previous", out);
    if (e == ERR_OK && json_is_object(json_object_get(slot, "previous")))
        e = buf_add_text(out, "\n");
    if (e == ERR_OK)
        e = buf_addf(out, "  %-8s %s; bundles with a lower one are refused\n", "counter",
                     json_text_or_null(slot, "counter"));
    return e;
}

enum err status_words(const json_t *json, int64_t now_ms, char **ret_text)
{
    cleanup_buf struct buf out = BUF_INIT(WORDS_MAX);
    const json_t *slots = json_object_get(json, "slots");
    bool live = json_is_true(json_object_get(json, "live"));
    enum err e = device_words(json, &out);
    if (e == ERR_OK)
        e = agent_words(json, now_ms, &out);
    if (e == ERR_OK)
        e = server_words(json, now_ms, &out);
    if (e == ERR_OK)
        e = room_words(json, &out);
    for (size_t i = 0; e == ERR_OK && i < json_array_size(slots); i++)
        e = slot_words(json_array_get(slots, i), live, &out);
    if (e == ERR_OK && json_array_size(slots) == 0)
        e = buf_add_text(&out, "\nThe server has not asked for anything yet.\n");
    if (e != ERR_OK)
        return ERR_NO_MEMORY;
    *ret_text = buf_take(&out);
    return ERR_OK;
}
