#include "agent/update/updater.h"

#include "agent/state/journal.h"
#include "agent/update/back.h"
#include "agent/update/gather.h"
#include "agent/update/recover.h"
#include "agent/update/updater_internal.h"
#include "agent/update/versions.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/crypt.h"
#include "common/base/log.h"
#include "common/base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RETRY_FIRST_MS = 1000, RETRY_MOST_MS = 5 * 60 * 1000 };

/* ---- one event ---- */

static enum err report_add(struct slot *slot, const struct update_output *output, const char *code, const char *detail)
{
    cleanup_free char *item = NULL;
    if (output->report == UPDATE_REPORT_NONE)
        return ERR_OK;
    enum err e = up_report(clock_wall_ms(), slot->row.slot, output->bundle, update_report_name(output->report), code,
                           detail, &item);
    return e == ERR_OK ? spool_add(slot->updater->parts.spool, SPOOL_REPORT, item) : e;
}

/* A delta that was no good is no failed update, but somebody should know. */
static enum err delta_failed_add(struct slot *slot, const struct update_input *input)
{
    cleanup_free char *item = NULL;
    char text[UPDATE_DETAIL_SIZE + UPDATE_CODE_SIZE + 8];
    if (input->event != UPDATE_NEXT)
        return ERR_OK;
    (void)snprintf(text, sizeof text, "%s: %s", input->code, input->detail);
    enum err e = up_event(clock_wall_ms(), "delta_failed", slot->row.slot, text, &item);
    return e == ERR_OK ? spool_add(slot->updater->parts.spool, SPOOL_EVENT, item) : e;
}

/* The row and its report, or neither. */
static enum err step_store(struct slot *slot, const struct update_row *row, const struct update_output *output,
                           const struct update_input *input)
{
    const struct updater_parts *parts = &slot->updater->parts;
    enum err e = state_begin(parts->state);
    if (e != ERR_OK)
        return e;
    e = journal_put(parts->state, row);
    if (e == ERR_OK)
        e = report_add(slot, output, input->code, input->detail);
    if (e == ERR_OK)
        e = delta_failed_add(slot, input);
    if (e == ERR_OK)
        e = state_commit(parts->state);
    else
        state_rollback(parts->state);
    if (e != ERR_OK && spool_reload(parts->spool) != ERR_OK)
        log_error("spool_unreadable", "slot=%s", row->slot);
    return e;
}

static void step_do(struct slot *slot, const struct update_input *input);

/* The journal cannot be written. True: the step counts all the same. */
static bool step_unstored(struct slot *slot, const struct update_input *input, enum update_phase next, enum err e)
{
    bool disk = e == ERR_NO_SPACE || e == ERR_IO;
    enum update_unstored what = disk ? update_unstored(next, input->event) : UPDATE_LATER;
    log_error("journal_not_written", "slot=%s phase=%s error=%s", slot->row.slot, update_phase_name(slot->row.phase),
              err_name(e));
    if (what == UPDATE_LATER)
        slot_retry(slot, 0);
    if (what == UPDATE_GIVE_UP) {
        const struct update_input fail = {.event = input->want != NULL ? UPDATE_WANT_REFUSED : UPDATE_FAIL,
                                          .want = input->want,
                                          .generation = input->generation,
                                          .code = e == ERR_NO_SPACE ? "disk_full" : "io_error",
                                          .detail = "the journal cannot be written"};
        step_do(slot, &fail);
    }
    return what == UPDATE_ACCEPT;
}

static void step_do(struct slot *slot, const struct update_input *input)
{
    struct update_row row = slot->row;
    struct update_output output = update_step(&row, input);
    if (output.ignored) {
        log_debug("update_event_ignored", "slot=%s phase=%s number=%d", row.slot, update_phase_name(row.phase),
                  (int)input->event);
        return;
    }
    enum err e = step_store(slot, &row, &output, input);
    if (e != ERR_OK && !step_unstored(slot, input, row.phase, e))
        return;
    slot->row = row;
    retry_reset(&slot->retry);
    log_info("update", "slot=%s phase=%s target=%.12s version=%s%s%s detail=\"%s\"", row.slot,
             update_phase_name(row.phase), row.want.bundle, row.want.version,
             input->code == NULL ? "" : " code=", input->code == NULL ? "" : input->code,
             input->detail == NULL ? "" : input->detail);
    slot->updater->parts.changed(slot->updater->parts.user);
    slot_act(slot, output.action);
}

void slot_event(struct slot *slot, enum update_event event, const char *code, const char *detail)
{
    const struct update_input input = {.event = event, .code = code, .detail = detail};
    step_do(slot, &input);
}

static void again(void *user)
{
    struct slot *slot = user;
    enum update_phase phase = slot->row.phase;
    slot_reconcile(slot);
    if (slot->row.phase == phase && !loop_timer_is_set(&slot->timer) && !fetch_running(&slot->fetch))
        slot_act(slot, update_resume(phase));
}

void slot_wait(struct slot *slot, int64_t delay_ms)
{
    loop_timer_set(slot->updater->parts.loop, &slot->timer, delay_ms, again, slot);
}

void slot_retry(struct slot *slot, int64_t least_ms)
{
    int64_t delay = retry_next_ms(&slot->retry, random_unit());
    slot_wait(slot, delay > least_ms ? delay : least_ms);
}

/* ---- the desired document ---- */

static const struct desired_slot *wanted(const struct updater *updater, const char *name)
{
    for (size_t i = 0; i < updater->desired.slot_count; i++)
        if (text_eq(updater->desired.slots[i].name, name))
            return &updater->desired.slots[i];
    return NULL;
}

/* The target stays; what the document says about it may have changed. */
static void slot_refresh(struct slot *slot, const struct desired_slot *want)
{
    if (!text_eq(slot->row.want.bundle, want->bundle))
        return;
    bool anew = update_refresh(&slot->row, want, gather_here(&slot->row));
    if (journal_put(slot->updater->parts.state, &slot->row) != ERR_OK)
        log_warn("journal_not_written", "slot=%s", slot->row.slot); /* the stored document says it, too */
    if (slot->row.phase == UPDATE_HELD)
        slot_act(slot, UPDATE_DO_WAIT);
    if (anew)
        slot_act(slot, UPDATE_DO_FETCH);
}

/* A document is complete: an update that it does not name any more is given up. Without a document nothing is known. */
static void slot_unnamed(struct slot *slot)
{
    struct desired_slot want;
    if (slot->updater->desired.generation == 0 || !update_unnamed(&slot->row, &want))
        return;
    const struct update_input input = {
        .event = UPDATE_WANT_COMMITTED, .want = &want, .generation = slot->updater->desired.generation};
    step_do(slot, &input);
}

void slot_reconcile(struct slot *slot)
{
    char detail[UPDATE_DETAIL_SIZE];
    const struct desired *desired = &slot->updater->desired;
    const struct desired_slot *want = wanted(slot->updater, slot->row.slot);
    if (want == NULL) {
        slot_unnamed(slot);
        return;
    }
    struct update_input input = {.want = want, .generation = desired->generation};
    bool previous_here = gather_here(&slot->row).previous;
    if (!update_want(&slot->row, want, desired->generation, previous_here, &input.event)) {
        slot_refresh(slot, want);
        return;
    }
    if (desired->unknown[0] != '\0' && input.event != UPDATE_WANT_COMMITTED) {
        (void)snprintf(detail, sizeof detail, "the server asks for \"%s\", which agent %s does not know",
                       desired->unknown, slot->updater->parts.device.agent_version);
        input.event = UPDATE_WANT_REFUSED;
        input.code = "agent_too_old";
        input.detail = detail;
    }
    step_do(slot, &input);
}

static struct slot *slot_find(struct updater *updater, const char *name)
{
    for (size_t i = 0; i < updater->count; i++)
        if (text_eq(updater->slots[i].row.slot, name))
            return &updater->slots[i];
    return NULL;
}

static struct slot *slot_add(struct updater *updater, const struct update_row *row)
{
    if (updater->count == SLOT_COUNT_MAX)
        return NULL;
    struct slot *slot = &updater->slots[updater->count++];
    *slot = (struct slot){.updater = updater, .row = *row, .retry = RETRY_INIT(RETRY_FIRST_MS, RETRY_MOST_MS, 0.2)};
    return slot;
}

static void all_reconcile(struct updater *updater)
{
    for (size_t i = 0; i < updater->count; i++)
        if (wanted(updater, updater->slots[i].row.slot) == NULL)
            slot_unnamed(&updater->slots[i]);
    for (size_t i = 0; i < updater->desired.slot_count; i++) {
        const struct desired_slot *want = &updater->desired.slots[i];
        struct slot *slot = slot_find(updater, want->name);
        struct update_row row = {0};
        (void)text_copy(row.slot, sizeof row.slot, want->name);
        if (slot == NULL)
            slot = slot_add(updater, &row);
        if (slot == NULL)
            log_error("too_many_slots", "slot=%s most=%d", want->name, SLOT_COUNT_MAX);
        else
            slot_reconcile(slot);
    }
}

enum err updater_desired(struct updater *updater, const char *text, size_t len, struct err_info *info)
{
    struct desired desired = {0};
    enum err e = desired_parse(text, len, &desired, info);
    if (e != ERR_OK)
        return e;
    if (desired.generation < updater->desired.generation)
        return ERR_OK;
    /* The server's settings, and deltas that have become ready, move no generation. */
    char digest[SHA256_HEX];
    e = sha256_hex(text, len, digest);
    if (e != ERR_OK || (desired.generation == updater->desired.generation && text_eq(digest, updater->seen)))
        return e;
    cleanup_free char *copy = strndup(text, len);
    e = copy == NULL ? ERR_NO_MEMORY : state_text_put(updater->parts.state, "desired", copy);
    if (e != ERR_OK) /* works for now; the next start asks the server again */
        log_warn("desired_not_stored", "error=%s", err_name(e));
    updater->desired = desired;
    (void)text_copy(updater->seen, sizeof updater->seen, digest);
    log_info("desired", "generation=%" PRId64 " slots=%zu", desired.generation, desired.slot_count);
    all_reconcile(updater);
    return ERR_OK;
}

/* ---- opening ---- */

enum err updater_open(const struct updater_parts *parts, struct updater **ret_updater, struct err_info *info)
{
    struct updater *updater = calloc(1, sizeof *updater);
    if (updater == NULL)
        return ERR_NO_MEMORY;
    updater->parts = *parts;
    enum err e = versions_prepare(info);
    if (e != ERR_OK) {
        free(updater);
        return e;
    }
    *ret_updater = updater;
    return ERR_OK;
}

void updater_close(struct updater *updater)
{
    if (updater == NULL)
        return;
    for (size_t i = 0; i < updater->count; i++) {
        fetch_cancel(&updater->slots[i].fetch);
        selftest_cancel(&updater->slots[i].selftest);
        loop_timer_clear(updater->parts.loop, &updater->slots[i].timer);
    }
    free(updater);
}

static void desired_load(struct updater *updater)
{
    cleanup_free char *text = NULL;
    enum err e = state_text_get(updater->parts.state, "desired", &text);
    if (e == ERR_OK)
        e = desired_parse(text, strlen(text), &updater->desired, NULL);
    if (e != ERR_OK && e != ERR_NOT_FOUND)
        log_warn("desired_not_loaded", "error=%s", err_name(e));
}

/* Goes on with what was interrupted. boots: the device has booted too often in its probation. */
static void slot_begin(struct slot *slot, bool boots)
{
    struct verdict verdict;
    if (runner_verdict(slot->updater->parts.runner, &slot->row, &verdict)) {
        slot_event(slot, UPDATE_FAIL, verdict.code, verdict.detail);
    } else if (boots) {
        slot_event(slot, UPDATE_FAIL, "infer_crashed", "the device was restarted several times in its probation");
    } else {
        slot_run(slot);
        slot_act(slot, update_resume(slot->row.phase));
    }
}

enum err updater_start(struct updater *updater, struct err_info *info)
{
    struct update_row *rows = calloc(SLOT_COUNT_MAX, sizeof *rows);
    bool fail[SLOT_COUNT_MAX] = {false};
    size_t count = 0;
    if (rows == NULL)
        return ERR_NO_MEMORY;
    enum err e = recover_rows(updater->parts.state, rows, fail, &count, info);
    for (size_t i = 0; e == ERR_OK && i < count; i++)
        (void)slot_add(updater, &rows[i]);
    if (e == ERR_OK)
        versions_tidy(rows, count);
    free(rows);
    if (e != ERR_OK)
        return e;
    desired_load(updater);
    for (size_t i = 0; i < count; i++) {
        struct slot *slot = &updater->slots[i];
        log_info("slot", "slot=%s phase=%s target=%.12s committed=%.12s previous=%.12s", slot->row.slot,
                 update_phase_name(slot->row.phase), slot->row.want.bundle, slot->row.committed, slot->row.previous);
        slot_begin(slot, fail[i]);
    }
    all_reconcile(updater);
    return ERR_OK;
}

/* ---- what others want to know ---- */

int64_t updater_generation(const struct updater *updater)
{
    return updater->desired.generation;
}

int64_t updater_beat_ms(const struct updater *updater)
{
    return updater->desired.beat_ms;
}

size_t updater_slots(const struct updater *updater, struct up_slot ret_slots[SLOT_COUNT_MAX])
{
    for (size_t i = 0; i < updater->count; i++) {
        const struct slot *slot = &updater->slots[i];
        ret_slots[i] = (struct up_slot){.row = &slot->row,
                                        .running = runner_running(updater->parts.runner, slot->row.slot),
                                        .size = slot->row.object.size};
    }
    return updater->count;
}

size_t updater_look(const struct updater *updater, struct status_slot ret_slots[SLOT_COUNT_MAX])
{
    for (size_t i = 0; i < updater->count; i++) {
        const struct slot *slot = &updater->slots[i];
        gather_slot(&slot->row, &ret_slots[i]);
        ret_slots[i].running = runner_running(updater->parts.runner, slot->row.slot);
        ret_slots[i].ready = slot->ready;
        ret_slots[i].elapsed_s = slot->ready ? (clock_mono_ms() - slot->ready_ms) / 1000 : 0;
        ret_slots[i].count = slot->count;
        ret_slots[i].errors = slot->errors;
    }
    return updater->count;
}

enum err updater_back(struct updater *updater, const char *name, const char *by, char ret_text[STATUS_TEXT_SIZE],
                      struct err_info *info)
{
    struct back back;
    const char *names[SLOT_COUNT_MAX];
    struct slot *slot = slot_find(updater, name);
    for (size_t i = 0; i < updater->count; i++)
        names[i] = updater->slots[i].row.slot;
    if (slot == NULL)
        return back_unknown(name, names, updater->count, info);
    enum err e = back_plan(&slot->row, updater->desired.generation, by, &back, info);
    if (e != ERR_OK)
        return e;
    (void)text_copy(ret_text, STATUS_TEXT_SIZE, back.text);
    step_do(slot, &back.input);
    return ERR_OK;
}

/* ---- what the runner has seen ---- */

/* The slot, when this bundle is what its present phase is waiting for; else NULL. */
static struct slot *slot_waiting(struct updater *updater, const char *name, const char *bundle)
{
    struct slot *slot = slot_find(updater, name);
    return slot != NULL && text_eq(update_current(&slot->row), bundle) ? slot : NULL;
}

void updater_ready(struct updater *updater, const char *name, const char *bundle, bool good)
{
    struct slot *slot = slot_waiting(updater, name, bundle);
    updater->parts.changed(updater->parts.user); /* what runs has changed */
    if (slot == NULL)
        return;
    if (slot->row.phase == UPDATE_PROBATION)
        probation_ready(slot, good);
    else if (good)
        slot_event(slot, UPDATE_RESTORED, NULL, NULL); /* belongs to the ways back, is ignored elsewhere */
}

void updater_exited(struct updater *updater, const char *name, const char *bundle, const char *code, const char *detail)
{
    struct slot *slot = slot_waiting(updater, name, bundle);
    updater->parts.changed(updater->parts.user);
    if (slot != NULL && slot->row.phase == UPDATE_PROBATION)
        probation_exited(slot, code, detail);
}

void updater_failed(struct updater *updater, const char *name, const char *bundle, const char *code, const char *detail)
{
    struct slot *slot = slot_waiting(updater, name, bundle);
    updater->parts.changed(updater->parts.user);
    if (slot != NULL && slot->row.phase == UPDATE_PROBATION)
        slot_event(slot, UPDATE_FAIL, code, detail);
}

void updater_window(struct updater *updater, const char *name, const char *bundle, int64_t count, int64_t errors)
{
    struct slot *slot = slot_waiting(updater, name, bundle);
    if (slot != NULL && slot->row.phase == UPDATE_PROBATION)
        probation_window(slot, count, errors);
}

void updater_passed(struct updater *updater, const char *name, const char *bundle, const char *detail)
{
    struct slot *slot = slot_waiting(updater, name, bundle);
    if (slot != NULL && slot->row.phase == UPDATE_PROBATION && slot->last_window)
        slot_event(slot, UPDATE_PASSED, NULL, detail);
}
