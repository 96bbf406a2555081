#include "agent/agent.h"

#include "agent/agent_internal.h"
#include "agent/loop/memory.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "common/base/version.h"

#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

enum {
    SAMPLES_PER_HEALTH = 10, /* of the sensors */
    SAMPLE_LEAST_MS = 200,
    SAMPLE_MOST_MS = 5000,
    TRIM_AFTER_MS = 20 * 1000,       /* by then what follows a connect is done */
    SPOOL_MEMORY_BYTES = 1024 * 1024 /* when there is no disk to spool to */
};

/* ---- hooks: what one part tells another ---- */

static void slot_changed(void *user)
{
    struct agent *agent = user;
    report_changed(agent);
    if (spool_has(agent->spool, SPOOL_REPORT))
        report_flush(agent);
}

static void infer_ready(void *user, const char *slot, const char *bundle, bool good)
{
    struct agent *agent = user;
    if (!good)
        report_event(agent, "model_mismatch", slot, "muster-infer has loaded other bytes than the manifest lists");
    updater_ready(agent->updater, slot, bundle, good);
}

static void infer_exited(void *user, const char *slot, const char *bundle, bool was_ready, const char *detail)
{
    struct agent *agent = user;
    report_event(agent, "infer_exited", slot, detail);
    updater_exited(agent->updater, slot, bundle, was_ready ? "infer_crashed" : "infer_start_failed", detail);
}

static void infer_window(void *user, const char *slot, const char *bundle, const json_t *counts)
{
    report_window(user, slot, bundle, counts);
}

static void app_ready(void *user, const char *slot, const char *bundle, bool good)
{
    struct agent *agent = user;
    if (!good)
        report_event(agent, "app_mismatch", slot, "the app's files are not what the manifest lists");
    updater_ready(agent->updater, slot, bundle, good);
}

static void app_exited(void *user, const char *slot, const char *bundle, const char *detail)
{
    struct agent *agent = user;
    (void)bundle;
    report_event(agent, "app_exited", slot, detail);
    report_changed(agent);
}

static void app_failed(void *user, const char *slot, const char *bundle, const char *code, const char *detail)
{
    struct agent *agent = user;
    updater_failed(agent->updater, slot, bundle, code, detail);
}

static void app_passed(void *user, const char *slot, const char *bundle, const char *detail)
{
    struct agent *agent = user;
    updater_passed(agent->updater, slot, bundle, detail);
}

/* The number only grows: by the disk, and should that be lost or full, by the time of day. */
static int64_t session_next(void *user)
{
    struct agent *agent = user;
    int64_t stored = 0;
    int64_t now = clock_wall_ms() / 1000;
    enum err e = state_number_get(agent->state, "session", &stored);
    int64_t session = stored + 1 > now ? stored + 1 : now;
    if (e == ERR_OK || e == ERR_NOT_FOUND)
        e = state_number_put(agent->state, "session", session);
    if (e != ERR_OK)
        log_warn("session_not_stored", "session=%lld error=%s", (long long)session, err_name(e));
    return session;
}

static void quiet(void *user)
{
    (void)user;
    memory_trim();
}

static void link_up(void *user)
{
    struct agent *agent = user;
    agent->contact_ms = clock_wall_ms();
    loop_timer_set(agent->loop, &agent->trim_timer, TRIM_AFTER_MS, quiet, agent);
    enrolment_worked(&agent->enrolment);
    report_up(agent);
    poll_now(agent);
}

static void link_message(void *user, const char *leaf, const char *text, size_t len)
{
    struct agent *agent = user;
    agent->contact_ms = clock_wall_ms();
    if (text_eq(leaf, "desired"))
        poll_document(agent, text, len, "mqtt");
    else if (text_eq(leaf, "ack"))
        report_ack(agent, text, len);
    else
        log_debug("message_ignored", "leaf=%s", leaf);
}

static void identity_ready(void *user)
{
    struct agent *agent = user;
    struct link_hooks hooks = {.session = session_next, .up = link_up, .message = link_message, .user = agent};
    log_info("identity", "device=%s", agent->identity.device);
    if (agent->link != NULL)
        link_reopen(agent->link);
    else if (link_open(agent->loop, &agent->identity, &hooks, &agent->link) != ERR_OK)
        log_error("link_not_opened", "device=%s", agent->identity.device);
    poll_now(agent);
}

/* ---- building ---- */

/* The spool may take a tenth of the disk and no more, whatever is configured: updates need room, too. */
static int64_t spool_limit_here(int64_t configured)
{
    struct statvfs fs;
    if (statvfs(".", &fs) != 0)
        return configured;
    int64_t tenth = (int64_t)fs.f_blocks * (int64_t)fs.f_frsize / 10;
    return tenth < configured ? tenth : configured;
}

/* With a disk that cannot be written the agent still runs what is installed; it only forgets more at its end. */
static enum err state_begin_use(struct agent *agent, struct err_info *info)
{
    bool fresh = false;
    int64_t limit = spool_limit_here(agent->settings->spool_bytes);
    enum err e = state_open("state.db", &agent->state, &fresh, info);
    if (e == ERR_NO_SPACE || e == ERR_IO || e == ERR_FORBIDDEN) {
        log_error("state_unusable", "detail=\"%s\" action=\"running without a journal\"", info->text);
        limit = SPOOL_MEMORY_BYTES;
        e = state_open(":memory:", &agent->state, &fresh, info);
    }
    if (e == ERR_OK)
        e = spool_open(agent->state, limit, &agent->spool);
    return e;
}

static int64_t sample_period_ms(int64_t health_ms)
{
    int64_t period = health_ms / SAMPLES_PER_HEALTH;
    return period < SAMPLE_LEAST_MS ? SAMPLE_LEAST_MS : period > SAMPLE_MOST_MS ? SAMPLE_MOST_MS : period;
}

static void boot_id_read(struct agent *agent)
{
    char *text = NULL;
    (void)text_copy(agent->boot_id, sizeof agent->boot_id, "unknown");
    if (file_read("/proc/sys/kernel/random/boot_id", 256, &text, NULL) == ERR_OK)
        (void)text_copy(agent->boot_id, sizeof agent->boot_id, text);
    agent->boot_id[strcspn(agent->boot_id, "\n")] = '\0';
    free(text);
}

/* Bytes; 0 when they cannot be read. */
static int64_t memory_total(const char *proc_root)
{
    struct host_cpu cpu = {0};
    struct host_usage usage = {0};
    host_usage(proc_root, &cpu, &usage);
    return usage.memory_total;
}

static enum err updater_build(struct agent *agent, struct err_info *info)
{
    struct supervisor_hooks hooks = {
        .ready = infer_ready, .exited = infer_exited, .window = infer_window, .user = agent};
    enum err e = supervisor_open(agent->loop, &agent->settings->supervisor, &hooks, &agent->supervisor);
    const struct apps_hooks app_hooks = {
        .ready = app_ready, .exited = app_exited, .failed = app_failed, .passed = app_passed, .user = agent};
    if (e == ERR_OK)
        e = apps_open(agent->loop, &agent->settings->apps, &agent->fetch_setup, &app_hooks, &agent->apps);
    const struct self_hooks self_hooks = {
        .ready = app_ready, .failed = app_failed, .passed = app_passed, .user = agent};
    if (e == ERR_OK)
        e = self_open(agent->loop, agent->settings->launch, agent->settings->report_s, &self_hooks, &agent->self);
    if (e != ERR_OK)
        return e;
    agent->runner = (struct runner){.supervisor = agent->supervisor, .apps = agent->apps, .self = agent->self};
    struct updater_parts parts = {.loop = agent->loop,
                                  .state = agent->state,
                                  .spool = agent->spool,
                                  .runner = &agent->runner,
                                  .fetch = &agent->fetch_setup,
                                  .trust_dir = agent->settings->trust_dir,
                                  .signatures = agent->settings->signatures,
                                  .download_bytes_s = agent->settings->download_bytes_s,
                                  .device = {.hardware = agent->settings->enrolment.hardware,
                                             .agent_version = MUSTER_VERSION,
                                             .accelerators = agent->settings->accelerators,
                                             .memory_total = memory_total(agent->settings->proc_root)},
                                  .selftest = {.infer_path = agent->settings->supervisor.program,
                                               .onnxruntime = agent->settings->supervisor.onnxruntime},
                                  .changed = slot_changed,
                                  .user = agent};
    return updater_open(&parts, &agent->updater, info);
}

/* Without an identity a device that has nothing installed is of no use; one that has runs it. */
static enum err identity_begin(struct agent *agent, struct err_info *info)
{
    struct up_slot slots[SLOT_COUNT_MAX];
    enum err e = enrolment_start(&agent->enrolment, agent->loop, &agent->settings->enrolment, &agent->fetch_setup,
                                 &agent->identity, identity_ready, agent, info);
    if (e == ERR_OK || updater_slots(agent->updater, slots) == 0)
        return e;
    log_error("identity_missing", "detail=\"%s\" next=\"%s\" action=\"running what is installed\"", info->text,
              info->next);
    return ERR_OK;
}

static enum err agent_build(struct agent *agent, struct err_info *info)
{
    const struct agent_settings *s = agent->settings;
    agent->fetch_setup = (struct fetch_setup){.program = s->fetch_path,
                                              .server_url = s->server_url,
                                              .server_ca = s->server_ca,
                                              .certificate = IDENTITY_CERTIFICATE,
                                              .key = identity_next_key(NULL)};
    boot_id_read(agent);
    enum err e = state_begin_use(agent, info);
    if (e == ERR_OK)
        e = sensors_start(s->sysfs_root, sample_period_ms(s->health_ms), &agent->sensors, info);
    if (e == ERR_OK)
        e = updater_build(agent, info);
    if (e == ERR_OK)
        e = updater_start(agent->updater, info);
    if (e == ERR_OK)
        e = identity_begin(agent, info);
    if (e != ERR_OK)
        return e;
    report_start(agent);
    desk_open(agent);
    return ERR_OK;
}

enum err agent_open(struct loop *loop, const struct agent_settings *settings, struct agent **ret_agent,
                    struct err_info *info)
{
    struct agent *agent = calloc(1, sizeof *agent);
    if (agent == NULL)
        return ERR_NO_MEMORY;
    agent->loop = loop;
    agent->settings = settings;
    agent->started_ms = clock_mono_ms();
    enum err e = agent_build(agent, info);
    if (e != ERR_OK) {
        agent_close(agent);
        return e;
    }
    *ret_agent = agent;
    return ERR_OK;
}

bool agent_leaving(const struct agent *agent)
{
    return self_leaving(agent->self);
}

void agent_close(struct agent *agent)
{
    if (agent == NULL)
        return;
    desk_close(agent);
    report_stop(agent);
    poll_stop(agent);
    enrolment_stop(&agent->enrolment);
    loop_timer_clear(agent->loop, &agent->trim_timer);
    link_close(agent->link);
    updater_close(agent->updater);
    apps_close(agent->apps);
    self_close(agent->self);
    supervisor_close(agent->supervisor);
    sensors_stop(agent->sensors);
    spool_close(agent->spool);
    state_close(agent->state);
    free(agent);
}
