/* What each action of the update table does. */

#include "agent/state/journal.h"
#include "agent/update/gather.h"
#include "agent/update/updater_internal.h"
#include "agent/update/versions.h"
#include "common/base/clock.h"
#include "common/base/crypt.h"
#include "common/base/log.h"
#include "common/base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* ---- what runs ---- */

void slot_run(struct slot *slot)
{
    enum err e = runner_run(slot->updater->parts.runner, &slot->row);
    if (e != ERR_OK)
        log_error("version_not_started", "slot=%s bundle=%.12s error=%s", slot->row.slot, update_current(&slot->row),
                  err_name(e));
}

/* ---- download ---- */

static void fetch_progress(void *user, int64_t bytes)
{
    struct slot *slot = user;
    slot->row.downloaded = bytes;
}

/* The object is no good; the next one is fetched at once, and nothing of this one is kept. */
static void object_failed(struct slot *slot, const char *code, const char *detail)
{
    char part[VERSION_PATH_SIZE];
    versions_part_path(slot->row.object.sha256, part);
    slot_event(slot, UPDATE_NEXT, code, detail);
    (void)unlink(part); /* if that fails, it is tidied away later */
}

/* A step has failed: try again, try another object, or give the target up. */
static void child_failed(struct slot *slot, const struct fetch_answer *answer)
{
    static const char *const next[] = {
        [UPDATE_TRY_AGAIN] = "again", [UPDATE_TRY_NEXT] = "another_object", [UPDATE_TRY_NOT] = "none"};
    enum update_retry what = update_retry(&slot->row, answer->code, answer->transient, gather_here(&slot->row));
    log_warn("update_step_failed", "slot=%s phase=%s code=%s next=%s detail=\"%s\"", slot->row.slot,
             update_phase_name(slot->row.phase), answer->code, next[what], answer->detail);
    if (what == UPDATE_TRY_NOT) {
        slot_event(slot, UPDATE_FAIL, answer->code, answer->detail);
        return;
    }
    if (what == UPDATE_TRY_NEXT) {
        object_failed(slot, answer->code, answer->detail);
        return;
    }
    if (!answer->transient && journal_put(slot->updater->parts.state, &slot->row) != ERR_OK)
        log_warn("journal_not_written", "slot=%s", slot->row.slot); /* then one try more is made after a crash */
    if (text_eq(answer->code, "part_missing"))
        slot_event(slot, UPDATE_REDO, NULL, NULL);
    else
        slot_retry(slot, answer->wait_ms);
}

/* The same for what this process has found itself. */
static void own_failed(struct slot *slot, const char *code, const char *detail, bool transient)
{
    const struct fetch_answer answer = {.code = code, .detail = detail, .transient = transient};
    child_failed(slot, &answer);
}

/* "0.3 MB in 0.4 s, a delta from 1.0.0" */
static void fetched_text(const struct slot *slot, char detail[UPDATE_DETAIL_SIZE])
{
    char dir[VERSION_PATH_SIZE];
    cleanup_manifest struct manifest *base = NULL;
    const struct desired_object *object = &slot->row.object;
    bool delta = object->from[0] != '\0' && versions_find(slot->row.slot, object->from, dir, &base) == ERR_OK;
    (void)snprintf(detail, UPDATE_DETAIL_SIZE, "%.1f MB in %.1f s%s%s", (double)object->size / 1e6,
                   (double)(clock_mono_ms() - slot->began_ms) / 1e3, delta ? ", a delta from " : "",
                   delta ? base->version : "");
}

static void fetch_done(void *user, const struct fetch_answer *answer)
{
    struct slot *slot = user;
    char detail[UPDATE_DETAIL_SIZE];
    if (!answer->ok) {
        child_failed(slot, answer);
        return;
    }
    slot->row.downloaded = slot->row.object.size;
    fetched_text(slot, detail);
    slot_event(slot, UPDATE_FETCHED, NULL, detail);
}

/* With a limit on downloads they go one after the other. */
static bool download_waits(const struct slot *slot)
{
    const struct updater *updater = slot->updater;
    bool others = false;
    for (size_t i = 0; i < updater->count; i++) {
        const struct slot *other = &updater->slots[i];
        others = others || (other != slot && other->row.phase == UPDATE_DOWNLOADING && fetch_running(&other->fetch));
    }
    return updater->parts.download_bytes_s > 0 && others;
}

/* What unpacking will need on the disk, as far as that can be told before the manifest is here: a full bundle's files
 * are about as large as it is, those of a delta as the ones it was made from, and the delta is written out once more.
 */
static int64_t unpacked_guess(const struct slot *slot)
{
    char dir[VERSION_PATH_SIZE];
    cleanup_manifest struct manifest *base = NULL;
    const struct desired_object *object = &slot->row.object;
    int64_t size = object->size;
    if (object->from[0] != '\0' && versions_find(slot->row.slot, object->from, dir, &base) == ERR_OK &&
        manifest_files_size(base) > size)
        size = manifest_files_size(base);
    return object->from[0] == '\0' ? size : size + object->size;
}

static void do_fetch(struct slot *slot)
{
    enum { LOOK_AGAIN_MS = 500 };
    char part[VERSION_PATH_SIZE];
    char before[SHA256_HEX];
    struct err_info info = {0};
    struct update_row *row = &slot->row;
    const struct updater_parts *parts = &slot->updater->parts;
    slot_run(slot); /* a switch that was taken back leaves it to this */
    (void)text_copy(before, sizeof before, row->object.sha256);
    if (!update_pick(row, gather_here(&slot->row))) {
        slot_event(slot, UPDATE_FAIL, "object_not_found", "the server names no object that this agent can use");
        return;
    }
    /* What is being fetched must be known after a crash, or it would be tidied away. */
    if (!text_eq(before, row->object.sha256) && journal_put(parts->state, row) != ERR_OK)
        log_warn("journal_not_written", "slot=%s", row->slot);
    if (download_waits(slot)) {
        slot_wait(slot, LOOK_AGAIN_MS);
        return;
    }
    versions_part_path(row->object.sha256, part);
    json_t *members = json_pack("{ss so ss so so ss}", "sha256", row->object.sha256, "size", json_id(row->object.size),
                                "file", part, "unpacked", json_id(unpacked_guess(slot)), "bytes_s",
                                json_id(parts->download_bytes_s), "trust_dir", parts->trust_dir);
    if (fetch_start(&slot->fetch, parts->loop, parts->fetch, "object", members, fetch_progress, fetch_done, slot,
                    &info) != ERR_OK)
        own_failed(slot, "internal", info.text, true);
}

/* ---- verification ---- */

static void unpack_done(void *user, const struct fetch_answer *answer)
{
    struct slot *slot = user;
    char part[VERSION_PATH_SIZE];
    if (!answer->ok) {
        child_failed(slot, answer);
        return;
    }
    versions_part_path(slot->row.object.sha256, part);
    slot_event(slot, UPDATE_VERIFIED, NULL, NULL);
    if (slot->row.phase != UPDATE_VERIFYING)
        (void)unlink(part); /* if that fails, it is tidied away later */
}

static void do_unpack(struct slot *slot)
{
    char part[VERSION_PATH_SIZE];
    char scratch[VERSION_PATH_SIZE];
    struct err_info info = {0};
    const struct updater_parts *parts = &slot->updater->parts;
    versions_part_path(slot->row.object.sha256, part);
    versions_scratch_path(slot->row.slot, scratch);
    json_t *members = json_pack("{ss ss ss sI ss ss sb}", "file", part, "bundle", slot->row.want.bundle, "trust_dir",
                                parts->trust_dir, "signatures", (json_int_t)parts->signatures, "objects", "objects",
                                "scratch", scratch, "delta", (int)(slot->row.object.from[0] != '\0'));
    if (fetch_start(&slot->fetch, parts->loop, parts->fetch, "unpack", members, NULL, unpack_done, slot, &info) !=
        ERR_OK)
        own_failed(slot, "internal", info.text, true);
}

/* ---- staging ---- */

static void step_failed(struct slot *slot, enum err e, const char *what)
{
    char detail[UPDATE_DETAIL_SIZE];
    (void)snprintf(detail, sizeof detail, "%s: %s", what, err_name(e));
    if (e == ERR_NO_MEMORY)
        own_failed(slot, "internal", detail, true);
    else if (e == ERR_NOT_FOUND || e == ERR_CORRUPT)
        own_failed(slot, "part_missing", detail, false);
    else
        slot_event(slot, UPDATE_FAIL, e == ERR_NO_SPACE ? "disk_full" : "io_error", detail);
}

/* The device as it is now. */
static struct update_device device_now(const struct slot *slot)
{
    struct statvfs fs;
    struct update_device device = slot->updater->parts.device;
    device.runtime = supervisor_runtime(slot->updater->parts.runner->supervisor);
    device.disk_free = statvfs(".", &fs) == 0 ? (int64_t)fs.f_bavail * (int64_t)fs.f_frsize : -1;
    return device;
}

static void do_stage(struct slot *slot)
{
    char dir[VERSION_PATH_SIZE];
    char detail[UPDATE_DETAIL_SIZE];
    cleanup_manifest struct manifest *manifest = NULL;
    struct update_row *row = &slot->row;
    enum err e = versions_find(row->slot, row->want.bundle, dir, &manifest);
    if (e == ERR_NOT_FOUND)
        e = versions_manifest(row->want.bundle, &manifest);
    if (e != ERR_OK) {
        step_failed(slot, e, "the unpacked manifest cannot be read");
        return;
    }
    const struct update_device device = device_now(slot);
    const char *code = update_admit(row, manifest, &device, detail);
    if (code != NULL) {
        slot_event(slot, UPDATE_FAIL, code, detail);
        return;
    }
    row->target_counter = manifest->release_counter;
    e = versions_stage(row->slot, manifest);
    if (e != ERR_OK)
        step_failed(slot, e, "the version cannot be staged");
    else
        slot_event(slot, UPDATE_STAGED_OK, NULL, NULL);
}

/* ---- self-test ---- */

static void test_done(void *user, const char *code, const char *detail)
{
    struct slot *slot = user;
    slot_event(slot, code == NULL ? UPDATE_TESTED : UPDATE_FAIL, code, detail);
}

/* A version that has passed its probation here before needs no test: the way back is to be short, and to need no more
 * memory than it did. */
static void do_test(struct slot *slot)
{
    char dir[VERSION_PATH_SIZE];
    struct err_info info = {0};
    cleanup_manifest struct manifest *manifest = NULL;
    const struct update_row *row = &slot->row;
    const struct updater_parts *parts = &slot->updater->parts;
    if (text_eq(row->want.bundle, row->committed) || text_eq(row->want.bundle, row->previous)) {
        slot_event(slot, UPDATE_TESTED, NULL, "it has run here before");
        return;
    }
    enum err e = versions_find(row->slot, row->want.bundle, dir, &manifest);
    if (e != ERR_OK) {
        step_failed(slot, e, "the staged version cannot be read");
        return;
    }
    e = selftest_start(&slot->selftest, parts->loop, &parts->selftest, manifest, row->slot, dir, test_done, slot,
                       &info);
    if (e == ERR_NO_MEMORY)
        step_failed(slot, e, "the self-test cannot be started");
    else if (e != ERR_OK)
        slot_event(slot, UPDATE_FAIL, "selftest_failed", info.text);
}

/* ---- holds ---- */

static void do_decide(struct slot *slot)
{
    const struct desired_hold *hold = &slot->row.want.hold;
    if (desired_hold_active(hold, clock_wall_ms()))
        slot_event(slot, UPDATE_HOLD, NULL, hold->reason);
    else
        slot_event(slot, UPDATE_GO, NULL, NULL);
}

static void hold_check(void *user)
{
    slot_act(user, UPDATE_DO_WAIT);
}

static void do_wait(struct slot *slot)
{
    enum { LOOK_EVERY_MS = 60 * 1000 }; /* the wall clock may be set */
    const struct desired_hold *hold = &slot->row.want.hold;
    int64_t now = clock_wall_ms();
    if (!desired_hold_active(hold, now)) {
        slot_event(slot, UPDATE_GO, NULL, NULL);
        return;
    }
    int64_t left = hold->expires_ms > now ? hold->expires_ms - now : LOOK_EVERY_MS;
    loop_timer_set(slot->updater->parts.loop, &slot->timer, left < LOOK_EVERY_MS ? left : LOOK_EVERY_MS, hold_check,
                   slot);
}

/* ---- switching ---- */

static void do_switch(struct slot *slot)
{
    char dir[VERSION_PATH_SIZE];
    char current[SHA256_HEX];
    versions_linked(slot->row.slot, "current", current);
    if (!text_eq(current, slot->row.want.bundle) && desired_hold_active(&slot->row.want.hold, clock_wall_ms())) {
        slot_event(slot, UPDATE_HOLD, NULL, slot->row.want.hold.reason);
        return;
    }
    enum err e = versions_find(slot->row.slot, slot->row.want.bundle, dir, NULL);
    if (e == ERR_OK)
        e = runner_switch(slot->updater->parts.runner, &slot->row);
    if (e != ERR_OK)
        step_failed(slot, e, "the version cannot be made current");
    else
        slot_event(slot, UPDATE_SWITCHED, NULL, NULL);
}

/* ---- probation ---- */

static void start_missed(void *user)
{
    struct slot *slot = user;
    struct runner_limits limits = runner_limits(slot->updater->parts.runner, slot->row.slot);
    slot_event(slot, UPDATE_FAIL, limits.code, limits.detail);
}

static void probation_over(void *user)
{
    struct slot *slot = user;
    slot->last_window = true;
    runner_collect(slot->updater->parts.runner, slot->row.slot);
}

static void do_watch(struct slot *slot)
{
    char dir[VERSION_PATH_SIZE];
    cleanup_manifest struct manifest *manifest = NULL;
    struct updater_parts *parts = &slot->updater->parts;
    slot->ready = false;
    slot->last_window = false;
    slot->count = 0;
    slot->errors = 0;
    slot->restarts = 0;
    enum err e = versions_find(slot->row.slot, slot->row.want.bundle, dir, &manifest);
    if (e == ERR_OK)
        e = runner_run(parts->runner, &slot->row);
    if (e != ERR_OK) {
        slot_event(slot, UPDATE_FAIL, e == ERR_NO_SPACE ? "disk_full" : "io_error", "the version cannot be started");
        return;
    }
    slot->health = manifest->health;
    loop_timer_set(parts->loop, &slot->timer, runner_limits(parts->runner, slot->row.slot).start_ms, start_missed,
                   slot);
    if (runner_ready(parts->runner, slot->row.slot, slot->row.want.bundle))
        probation_ready(slot, true);
}

void probation_ready(struct slot *slot, bool good)
{
    if (!good) {
        slot_event(slot, UPDATE_FAIL, "payload_mismatch", "what was started is not what the signed manifest lists");
        return;
    }
    if (slot->ready)
        return;
    slot->ready = true;
    slot->ready_ms = clock_mono_ms();
    loop_timer_set(slot->updater->parts.loop, &slot->timer, (int64_t)slot->row.want.probation_s * 1000, probation_over,
                   slot);
}

void probation_window(struct slot *slot, int64_t count, int64_t errors)
{
    char detail[UPDATE_DETAIL_SIZE];
    slot->count += count;
    slot->errors += errors;
    bool good = (double)slot->errors <= (double)slot->count * slot->health.max_error_rate;
    int n = snprintf(detail, sizeof detail, "%" PRId64 " inferences, %" PRId64 " errors", slot->count, slot->errors);
    if (!good)
        (void)snprintf(detail + n, sizeof detail - (size_t)n, "; at most %g %% may fail",
                       slot->health.max_error_rate * 100);
    if (!good)
        slot_event(slot, UPDATE_FAIL, "infer_errors", detail);
    else if (slot->last_window)
        slot_event(slot, UPDATE_PASSED, NULL, detail);
}

void probation_exited(struct slot *slot, const char *code, const char *detail)
{
    char text[UPDATE_DETAIL_SIZE];
    slot->restarts++;
    if (slot->restarts <= slot->health.max_restarts) {
        log_warn("probation_restart", "slot=%s restarts=%d most=%d", slot->row.slot, slot->restarts,
                 slot->health.max_restarts);
        return;
    }
    (void)snprintf(text, sizeof text, slot->restarts == 1 ? "%s" : "%s; that was end %d in one probation", detail,
                   slot->restarts);
    slot_event(slot, UPDATE_FAIL, code, text);
}

/* ---- the way back ---- */

static void restore_missed(void *user)
{
    struct slot *slot = user;
    slot_event(slot, UPDATE_LOST, runner_limits(slot->updater->parts.runner, slot->row.slot).code,
               "the version before was made current again, but does not run");
}

static void do_restore(struct slot *slot)
{
    struct updater_parts *parts = &slot->updater->parts;
    enum err e = runner_run(parts->runner, &slot->row);
    if (e != ERR_OK && e != ERR_NOT_FOUND && e != ERR_CORRUPT) {
        log_error("restore_failed", "slot=%s error=%s", slot->row.slot, err_name(e));
        slot_retry(slot, 0);
    } else if (e != ERR_OK) {
        slot_event(slot, UPDATE_LOST, "io_error", "the version before is not complete any more");
    } else if (runner_runs(parts->runner, slot->row.slot, slot->row.committed)) {
        slot_event(slot, UPDATE_RESTORED, NULL, NULL);
    } else {
        loop_timer_set(parts->loop, &slot->timer, runner_limits(parts->runner, slot->row.slot).restore_ms,
                       restore_missed, slot);
    }
}

static void do_tidy(struct slot *slot)
{
    struct update_row rows[SLOT_COUNT_MAX];
    struct updater *updater = slot->updater;
    slot_run(slot);
    for (size_t i = 0; i < updater->count; i++)
        rows[i] = updater->slots[i].row;
    versions_tidy(rows, updater->count);
    slot_reconcile(slot); /* the document may want something else by now */
}

void slot_act(struct slot *slot, enum update_action action)
{
    static void (*const steps[])(struct slot * slot) = {
        [UPDATE_DO_FETCH] = do_fetch,   [UPDATE_DO_UNPACK] = do_unpack,   [UPDATE_DO_STAGE] = do_stage,
        [UPDATE_DO_DECIDE] = do_decide, [UPDATE_DO_WAIT] = do_wait,       [UPDATE_DO_SWITCH] = do_switch,
        [UPDATE_DO_WATCH] = do_watch,   [UPDATE_DO_RESTORE] = do_restore, [UPDATE_DO_TIDY] = do_tidy,
        [UPDATE_DO_TEST] = do_test,
    };
    fetch_cancel(&slot->fetch);
    selftest_cancel(&slot->selftest);
    loop_timer_clear(slot->updater->parts.loop, &slot->timer);
    slot->began_ms = clock_mono_ms();
    if (steps[action] != NULL)
        steps[action](slot);
}
