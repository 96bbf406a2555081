/* What the agent sends: hello, beats, and the batches of the spool. */

#include "agent/agent_internal.h"
#include "agent/core/up.h"
#include "agent/sense/items.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/crypt.h"
#include "common/base/log.h"
#include "common/base/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    BEAT_DEFAULT_MS = 30 * 1000, /* until a document says otherwise */
    BEAT_LEAST_MS = 1000,        /* between two beats because of changes */
    HEALTH_FIRST_MS = 1000,      /* by then the sensors have been read */
    FLUSH_SOON_MS = 100,         /* items that come together go together */
    FLUSH_RETRY_MS = 5 * 1000,
    RESEND_FIRST_MS = 1000,
    RESEND_MOST_MS = 60 * 1000
};
#define BEAT_SPREAD 0.1
#define RESEND_SPREAD 0.2

/* ---- beats ---- */

static void beat_fire(void *user);

static int64_t beat_period_ms(const struct agent *agent)
{
    int64_t period = updater_beat_ms(agent->updater);
    return period > 0 ? period : BEAT_DEFAULT_MS;
}

static void beat_plan(struct agent *agent)
{
    agent->beat_hurried = false;
    loop_timer_set(agent->loop, &agent->beat_timer, retry_jitter_ms(beat_period_ms(agent), BEAT_SPREAD, random_unit()),
                   beat_fire, agent);
}

static void beat_send(struct agent *agent)
{
    struct up_slot slots[SLOT_COUNT_MAX];
    cleanup_free char *text = NULL;
    struct up_beat beat = {.session = link_session(agent->link),
                           .t = clock_wall_ms(),
                           .uptime_s = host_uptime_s(),
                           .generation = updater_generation(agent->updater),
                           .slots = slots,
                           .slot_count = updater_slots(agent->updater, slots)};
    sensors_peek(agent->sensors, &beat.has_margin, &beat.margin_c, &beat.throttled);
    agent->beat_ms_ago = clock_mono_ms();
    enum err e = up_beat(&beat, &text);
    if (e == ERR_OK)
        e = link_publish(agent->link, "beat", text);
    if (e != ERR_OK)
        log_debug("beat_not_sent", "error=%s", err_name(e));
}

static void beat_fire(void *user)
{
    struct agent *agent = user;
    if (link_is_up(agent->link))
        beat_send(agent);
    beat_plan(agent);
}

void report_changed(struct agent *agent)
{
    if (agent->beat_hurried || !link_is_up(agent->link))
        return;
    agent->beat_hurried = true;
    loop_timer_set(agent->loop, &agent->beat_timer, agent->beat_ms_ago + BEAT_LEAST_MS - clock_mono_ms(), beat_fire,
                   agent);
}

/* ---- the spool ---- */

static void resend_fire(void *user);
static void flush_fire(void *user);

static void batch_send(struct agent *agent)
{
    cleanup_free char *text = NULL;
    if (!link_is_up(agent->link))
        return;
    enum err e = spool_message(agent->spool, &text);
    if (e == ERR_NOT_FOUND)
        return;
    if (e == ERR_OK)
        e = link_publish(agent->link, "data", text);
    if (e != ERR_OK)
        log_debug("data_not_sent", "error=%s", err_name(e));
    loop_timer_set(agent->loop, &agent->resend_timer, retry_next_ms(&agent->resend, random_unit()), resend_fire, agent);
}

static void resend_fire(void *user)
{
    batch_send(user);
}

/* Whether a batch waits for its ack. */
static bool batch_waits(const struct agent *agent)
{
    int64_t first = 0;
    int64_t last = 0;
    spool_range(agent->spool, &first, &last);
    return first <= last;
}

static void pending_clear(struct agent *agent)
{
    for (size_t i = 0; i < agent->pending_count; i++)
        free(agent->pending[i].item);
    agent->pending_count = 0;
}

/* All that is pending, and the next batch, in one transaction. */
static enum err spool_store(struct agent *agent)
{
    enum err e = state_begin(agent->state);
    if (e != ERR_OK)
        return e;
    for (size_t i = 0; e == ERR_OK && i < agent->pending_count; i++) {
        e = spool_add(agent->spool, agent->pending[i].rank, agent->pending[i].item);
        if (e == ERR_TOO_LARGE) { /* never right: it is not to hold up the others */
            log_error("item_too_large", "bytes=%zu", strlen(agent->pending[i].item));
            e = ERR_OK;
        }
    }
    if (e == ERR_OK && link_is_up(agent->link))
        e = spool_freeze(agent->spool);
    if (e == ERR_OK)
        return state_commit(agent->state);
    state_rollback(agent->state);
    return e;
}

static void flush_fire(void *user)
{
    struct agent *agent = user;
    bool waited = batch_waits(agent);
    enum err e = spool_store(agent);
    if (e != ERR_OK && !agent->spool_failing) /* once, not for each try */
        log_error("spool_not_written", "error=%s pending=%zu", err_name(e), agent->pending_count);
    if (e == ERR_OK && agent->spool_failing)
        log_info("spool_written_again", "items=%zu", agent->pending_count);
    agent->spool_failing = e != ERR_OK;
    if (e != ERR_OK) {
        if (spool_reload(agent->spool) != ERR_OK)
            log_error("spool_unreadable", "error=io_error");
        loop_timer_set(agent->loop, &agent->flush_timer, FLUSH_RETRY_MS, flush_fire, agent);
        return;
    }
    pending_clear(agent);
    if (!waited) {
        retry_reset(&agent->resend);
        batch_send(agent);
    }
}

void report_flush(struct agent *agent)
{
    if (!loop_timer_is_set(&agent->flush_timer))
        loop_timer_set(agent->loop, &agent->flush_timer, FLUSH_SOON_MS, flush_fire, agent);
}

/* Takes the item, which is then owned here. While the disk cannot be written, the oldest telemetry makes room. */
static void item_add(struct agent *agent, struct pending item)
{
    if (agent->pending_count == PENDING_MAX) {
        size_t oldest = 0;
        while (oldest < PENDING_MAX - 1 && agent->pending[oldest].rank != SPOOL_TELEMETRY)
            oldest++;
        free(agent->pending[oldest].item);
        memmove(&agent->pending[oldest], &agent->pending[oldest + 1],
                (PENDING_MAX - oldest - 1) * sizeof agent->pending[0]);
        agent->pending_count--;
    }
    agent->pending[agent->pending_count++] = item;
    report_flush(agent);
}

void report_ack(struct agent *agent, const char *text, size_t len)
{
    json_t *ack = NULL;
    int64_t seq = 0;
    if (json_parse(text, len, JSON_BYTES_MAX, &ack, NULL) != ERR_OK ||
        json_get_id(ack, "seq", 1, &seq, NULL) != ERR_OK) {
        log_warn("ack_refused", "reason=\"not an acknowledgement\"");
        json_decref(ack);
        return;
    }
    if (spool_ack(agent->spool, json_text_or_null(ack, "epoch"), seq)) {
        const char *refused = json_text_or_null(ack, "refused");
        if (refused != NULL)
            log_error("batch_refused", "seq=%" PRId64 " reason=\"%s\"", seq, refused);
        loop_timer_clear(agent->loop, &agent->resend_timer);
        retry_reset(&agent->resend);
        if (spool_has(agent->spool, SPOOL_TELEMETRY))
            report_flush(agent);
    }
    json_decref(ack);
}

/* ---- items ---- */

void report_event(struct agent *agent, const char *name, const char *slot, const char *detail)
{
    char *item = NULL;
    if (up_event(clock_wall_ms(), name, slot, detail, &item) == ERR_OK)
        item_add(agent, (struct pending){SPOOL_EVENT, item});
}

/* Adds a telemetry item made of json (stolen). */
static void telemetry_add(struct agent *agent, json_t *json)
{
    char *item = NULL;
    if (json_print(json, &item, NULL) == ERR_OK)
        item_add(agent, (struct pending){SPOOL_TELEMETRY, item});
    json_decref(json);
}

void report_window(struct agent *agent, const char *slot, const char *bundle, const json_t *counts)
{
    int64_t window_ms = 0;
    int64_t count = 0;
    int64_t errors = 0;
    int64_t queue_max = 0;
    json_t *hist = NULL;
    struct err_info info = {0};
    enum err e = json_get_i64(counts, "window_ms", 0, INT32_MAX, &window_ms, &info);
    if (e == ERR_OK)
        e = json_get_id(counts, "count", 0, &count, &info);
    if (e == ERR_OK)
        e = json_get_id(counts, "errors", 0, &errors, &info);
    if (e == ERR_OK)
        e = json_get_i64(counts, "queue_max", 0, INT32_MAX, &queue_max, &info);
    if (e == ERR_OK)
        e = json_get_object(counts, "hist", &hist, &info);
    if (e != ERR_OK) {
        log_warn("window_refused", "slot=%s detail=\"%s\"", slot, info.text);
        return;
    }
    json_int_t t = (json_int_t)clock_wall_ms();
    json_t *features = json_object_get(counts, "features");
    if (count > 0 || errors > 0)
        telemetry_add(agent, json_pack("{ss sI sI ss ss so so sI sO}", "kind", "infer", "t", t, "window_ms",
                                       (json_int_t)window_ms, "slot", slot, "bundle", bundle, "count", json_id(count),
                                       "errors", json_id(errors), "queue_max", (json_int_t)queue_max, "hist", hist));
    if (count > 0 && json_array_size(features) > 0)
        telemetry_add(agent, json_pack("{ss sI sI ss ss sO}", "kind", "drift", "t", t, "window_ms",
                                       (json_int_t)window_ms, "slot", slot, "bundle", bundle, "features", features));
    updater_window(agent->updater, slot, bundle, count, errors);
}

/* Sends the inventory when it says something new. */
static void inventory_look(struct agent *agent, const struct host_usage *usage)
{
    struct host_facts facts;
    char digest[SHA256_HEX];
    cleanup_free char *content = NULL;
    cleanup_free char *sent = NULL;
    char *item = NULL;
    const char *hardware = agent->settings->enrolment.hardware;
    const char *runtime = supervisor_runtime(agent->supervisor);
    host_facts(agent->settings->sysfs_root, &facts);
    if (item_inventory(0, &facts, usage, hardware, runtime, &content) != ERR_OK ||
        sha256_hex(content, strlen(content), digest) != ERR_OK)
        return;
    if (state_text_get(agent->state, "inventory_sha256", &sent) == ERR_OK && text_eq(sent, digest))
        return;
    if (item_inventory(clock_wall_ms(), &facts, usage, hardware, runtime, &item) != ERR_OK)
        return;
    item_add(agent, (struct pending){SPOOL_INVENTORY, item});
    if (state_text_put(agent->state, "inventory_sha256", digest) != ERR_OK)
        log_warn("inventory_not_noted", "error=io_error"); /* it is sent once more */
}

static void health_fire(void *user)
{
    struct agent *agent = user;
    struct host_usage usage;
    struct sensors_reading reading;
    char *item = NULL;
    host_usage(agent->settings->proc_root, &agent->cpu, &usage);
    sensors_take(agent->sensors, &reading);
    if (item_health(clock_wall_ms(), &usage, &reading, &item) == ERR_OK)
        item_add(agent, (struct pending){SPOOL_TELEMETRY, item});
    inventory_look(agent, &usage);
    loop_timer_set(agent->loop, &agent->health_timer, agent->settings->health_ms, health_fire, agent);
}

static void data_fire(void *user)
{
    struct agent *agent = user;
    supervisor_collect(agent->supervisor, NULL);
    if (spool_has(agent->spool, SPOOL_TELEMETRY))
        report_flush(agent);
    loop_timer_set(agent->loop, &agent->data_timer, agent->settings->data_ms, data_fire, agent);
}

/* ---- start and link ---- */

void report_up(struct agent *agent)
{
    struct up_hello hello = {.session = link_session(agent->link),
                             .boot_id = agent->boot_id,
                             .generation = updater_generation(agent->updater),
                             .epoch = spool_epoch(agent->spool)};
    cleanup_free char *text = NULL;
    spool_range(agent->spool, &hello.first, &hello.last);
    if (up_hello(&hello, &text) != ERR_OK || link_publish(agent->link, "hello", text) != ERR_OK)
        log_warn("hello_not_sent", "session=%" PRId64, hello.session);
    agent->beat_hurried = false;
    agent->beat_ms_ago = 0;
    report_changed(agent);
    retry_reset(&agent->resend);
    if (batch_waits(agent))
        loop_timer_set(agent->loop, &agent->resend_timer, 0, resend_fire, agent);
    else
        report_flush(agent);
}

void report_start(struct agent *agent)
{
    agent->resend = RETRY_INIT(RESEND_FIRST_MS, RESEND_MOST_MS, RESEND_SPREAD);
    beat_plan(agent);
    loop_timer_set(agent->loop, &agent->data_timer, agent->settings->data_ms, data_fire, agent);
    loop_timer_set(agent->loop, &agent->health_timer, HEALTH_FIRST_MS, health_fire, agent);
}

void report_stop(struct agent *agent)
{
    struct loop_timer *timers[] = {&agent->beat_timer, &agent->data_timer, &agent->health_timer, &agent->flush_timer,
                                   &agent->resend_timer};
    if (agent->pending_count > 0 && spool_store(agent) != ERR_OK)
        log_error("spool_not_written", "pending=%zu", agent->pending_count);
    for (size_t i = 0; i < sizeof timers / sizeof timers[0]; i++)
        loop_timer_clear(agent->loop, timers[i]);
    pending_clear(agent);
}
