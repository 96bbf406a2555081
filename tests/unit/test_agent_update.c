/* The update of a slot: every cell of its table, the decisions around it, and long random walks of a device that
 * crashes, is held, superseded, restarted and lied to, against what must never happen. */
#include "agent/core/update.h"
#include "common/base/text.h"
#include "common/bundle/manifest.h"

#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

/* Bundle ids that differ in their first digits, as directories' names do. */
static const char *bundle_id(int n, char out[SHA256_HEX])
{
    (void)snprintf(out, SHA256_HEX, "%08x%056x", 0x10000000 + n, n);
    return out;
}

static struct desired_slot want_of(int n)
{
    struct desired_slot want = {.name = "digits", .version = "1.0.0", .object_size = 100};
    (void)bundle_id(n, want.bundle);
    (void)bundle_id(1000 + n, want.object);
    return want;
}

/* ---------------------------------------------------------------- the table */

#define E(event) UPDATE_##event
#define P(phase) UPDATE_##phase

/* Everything that may happen; what is not here must be ignored. */
static const struct {
    enum update_phase from;
    enum update_event event;
    enum update_phase to;
    enum update_report report;
} steps[] = {
    {P(DOWNLOADING), E(FETCHED), P(VERIFYING), P(REPORT_DOWNLOADED)},
    {P(DOWNLOADING), E(FAIL), P(FAILED), P(REPORT_FAILED)},
    {P(VERIFYING), E(VERIFIED), P(STAGING), P(REPORT_VERIFIED)},
    {P(VERIFYING), E(REDO), P(DOWNLOADING), P(REPORT_NONE)},
    {P(VERIFYING), E(FAIL), P(FAILED), P(REPORT_FAILED)},
    {P(STAGING), E(STAGED_OK), P(STAGED), P(REPORT_STAGED)},
    {P(STAGING), E(REDO), P(DOWNLOADING), P(REPORT_NONE)},
    {P(STAGING), E(FAIL), P(FAILED), P(REPORT_FAILED)},
    {P(STAGED), E(HOLD), P(HELD), P(REPORT_HELD)},
    {P(STAGED), E(GO), P(SWITCHING), P(REPORT_NONE)},
    {P(STAGED), E(FAIL), P(FAILED), P(REPORT_FAILED)},
    {P(HELD), E(GO), P(SWITCHING), P(REPORT_RELEASED)},
    {P(HELD), E(FAIL), P(FAILED), P(REPORT_FAILED)},
    {P(SWITCHING), E(SWITCHED), P(PROBATION), P(REPORT_SWITCHED)},
    {P(SWITCHING), E(HOLD), P(HELD), P(REPORT_HELD)},
    {P(SWITCHING), E(REDO), P(DOWNLOADING), P(REPORT_NONE)},
    {P(SWITCHING), E(FAIL), P(RESTORING), P(REPORT_FAILED)},
    {P(PROBATION), E(PASSED), P(IDLE), P(REPORT_COMMITTED)},
    {P(PROBATION), E(FAIL), P(RESTORING), P(REPORT_FAILED)},
    {P(RESTORING), E(RESTORED), P(FAILED), P(REPORT_ROLLED_BACK)},
    {P(RESTORING), E(LOST), P(FAILED), P(REPORT_NONE)},
    {P(WITHDRAWING), E(RESTORED), P(IDLE), P(REPORT_ROLLED_BACK)},
    {P(WITHDRAWING), E(LOST), P(FAILED), P(REPORT_FAILED)},
};

static bool is_want(enum update_event event)
{
    return event <= UPDATE_WANT_REFUSED;
}

/* What a newly wanted bundle does in a phase; false: it is ignored. */
static bool wanted_step(enum update_phase from, enum update_event event, enum update_phase *to)
{
    static const enum update_phase next[] = {UPDATE_DOWNLOADING, UPDATE_STAGING, UPDATE_IDLE, UPDATE_FAILED};
    if (from == UPDATE_RESTORING || from == UPDATE_WITHDRAWING)
        return false;
    *to = from == UPDATE_SWITCHING || from == UPDATE_PROBATION ? UPDATE_WITHDRAWING : next[event];
    return true;
}

static bool listed_step(enum update_phase from, enum update_event event, enum update_phase *to,
                        enum update_report *report)
{
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        if (steps[i].from == from && steps[i].event == event) {
            *to = steps[i].to;
            *report = steps[i].report;
            return true;
        }
    }
    return false;
}

static void every_cell(void **state)
{
    (void)state;
    for (int phase = 0; phase < UPDATE_PHASES_; phase++) {
        for (int event = 0; event < UPDATE_EVENTS_; event++) {
            struct desired_slot want = want_of(2);
            struct update_row row = {.slot = "digits", .phase = (enum update_phase)phase, .want = want_of(1)};
            (void)bundle_id(0, row.committed);
            struct update_row before = row;
            struct update_input input = {
                .event = (enum update_event)event, .want = &want, .generation = 7, .code = "io_error", .detail = "x"};
            enum update_phase to = UPDATE_IDLE;
            enum update_report report = UPDATE_REPORT_NONE;
            bool known = is_want(input.event) ? wanted_step(before.phase, input.event, &to)
                                              : listed_step(before.phase, input.event, &to, &report);
            struct update_output output = update_step(&row, &input);
            assert_int_equal(output.ignored, !known);
            if (!known) {
                assert_memory_equal(&row, &before, sizeof row);
                continue;
            }
            assert_int_equal(row.phase, to);
            assert_int_equal(output.action, update_resume(to));
            if (!is_want(input.event)) {
                assert_int_equal(output.report, report);
                assert_string_equal(output.bundle, before.want.bundle);
            }
        }
    }
}

/* ---------------------------------------------------------------- single rules */

static struct update_output give(struct update_row *row, enum update_event event)
{
    struct update_input input = {.event = event, .code = "infer_crashed", .detail = "signal 11"};
    return update_step(row, &input);
}

static struct update_output wanted(struct update_row *row, enum update_event event, int bundle, int64_t generation)
{
    struct desired_slot want = want_of(bundle);
    struct update_input input = {.event = event, .want = &want, .generation = generation, .code = "agent_too_old"};
    return update_step(row, &input);
}

static void first_install_commits(void **state)
{
    (void)state;
    char id[SHA256_HEX];
    struct update_row row = {.slot = "digits"};
    assert_string_equal(update_phase_wire(&row), "empty");
    struct update_output output = wanted(&row, UPDATE_WANT_FETCH, 1, 1);
    assert_int_equal(output.report, UPDATE_REPORT_OFFERED);
    assert_string_equal(output.bundle, bundle_id(1, id));
    (void)give(&row, UPDATE_FETCHED);
    (void)give(&row, UPDATE_VERIFIED);
    row.target_counter = 4;
    (void)give(&row, UPDATE_STAGED_OK);
    assert_string_equal(update_current(&row), "");
    (void)give(&row, UPDATE_GO);
    assert_string_equal(update_current(&row), id);
    (void)give(&row, UPDATE_SWITCHED);
    assert_int_equal(give(&row, UPDATE_PASSED).action, UPDATE_DO_TIDY);
    assert_string_equal(row.committed, id);
    assert_string_equal(row.previous, "");
    assert_int_equal(row.counter, 4);
    assert_string_equal(update_phase_wire(&row), "running");
}

static struct update_row row_in_probation(void)
{
    struct update_row row = {.slot = "digits", .phase = UPDATE_PROBATION, .want = want_of(2), .counter = 1};
    row.target_counter = 2;
    (void)bundle_id(1, row.committed);
    (void)bundle_id(0, row.previous);
    return row;
}

static void failed_probation_rolls_back(void **state)
{
    (void)state;
    char id[SHA256_HEX];
    struct update_row row = row_in_probation();
    assert_string_equal(update_current(&row), bundle_id(2, id));
    assert_string_equal(update_previous(&row), bundle_id(1, id));
    assert_int_equal(give(&row, UPDATE_FAIL).action, UPDATE_DO_RESTORE);
    assert_null(row.device_left);
    assert_string_equal(update_current(&row), bundle_id(1, id));
    assert_string_equal(update_phase_wire(&row), "switching");
    assert_int_equal(give(&row, UPDATE_RESTORED).report, UPDATE_REPORT_ROLLED_BACK);
    assert_string_equal(update_phase_wire(&row), "failed");
    assert_string_equal(row.stage, "probation");
    assert_string_equal(row.code, "infer_crashed");
    assert_string_equal(row.device_left, "rolled_back");
    assert_string_equal(row.committed, bundle_id(1, id));
    assert_string_equal(row.previous, bundle_id(0, id));
    assert_int_equal(row.counter, 1);
}

static void lost_way_back_says_so(void **state)
{
    (void)state;
    struct update_row row = row_in_probation();
    (void)give(&row, UPDATE_FAIL);
    (void)give(&row, UPDATE_LOST);
    assert_string_equal(row.device_left, "unable_to_roll_back");
    assert_string_equal(row.code, "infer_crashed");
}

static void superseded_in_probation_withdraws(void **state)
{
    (void)state;
    char id[SHA256_HEX];
    struct update_row row = row_in_probation();
    assert_int_equal(wanted(&row, UPDATE_WANT_FETCH, 3, 9).action, UPDATE_DO_RESTORE);
    struct update_output output = give(&row, UPDATE_RESTORED);
    assert_string_equal(output.bundle, bundle_id(2, id)); /* the report is about what was withdrawn */
    assert_int_equal(row.phase, UPDATE_IDLE);
    assert_string_equal(row.want.bundle, bundle_id(1, id));
    assert_string_equal(row.code, "");
}

static void refused_target_fails_without_change(void **state)
{
    (void)state;
    struct update_row row = {.slot = "digits"};
    (void)bundle_id(1, row.committed);
    (void)wanted(&row, UPDATE_WANT_REFUSED, 2, 3);
    assert_string_equal(update_phase_wire(&row), "failed");
    assert_string_equal(row.code, "agent_too_old");
    assert_string_equal(row.stage, "download");
    assert_string_equal(row.device_left, "no_change");
}

static void wants(void **state)
{
    (void)state;
    enum update_event event;
    struct update_row row = {.slot = "digits", .want = want_of(1), .generation = 5};
    struct desired_slot same = want_of(1);
    struct desired_slot older = want_of(0);
    struct desired_slot newer = want_of(2);
    (void)bundle_id(1, row.committed);
    (void)bundle_id(0, row.previous);
    assert_false(update_want(&row, &same, 9, true, &event));
    assert_true(update_want(&row, &newer, 9, true, &event));
    assert_int_equal(event, UPDATE_WANT_FETCH);
    assert_true(update_want(&row, &older, 9, true, &event));
    assert_int_equal(event, UPDATE_WANT_LOCAL);
    assert_true(update_want(&row, &older, 9, false, &event)); /* its files are gone */
    assert_int_equal(event, UPDATE_WANT_FETCH);
    row.want = newer;
    row.phase = UPDATE_FAILED;
    assert_false(update_want(&row, &newer, 5, true, &event)); /* not again for the same document */
    assert_true(update_want(&row, &newer, 6, true, &event));
    assert_int_equal(event, UPDATE_WANT_FETCH);
    assert_true(update_want(&row, &same, 5, true, &event));
    assert_int_equal(event, UPDATE_WANT_COMMITTED);
    row.phase = UPDATE_RESTORING;
    assert_false(update_want(&row, &older, 9, true, &event)); /* first the way back */
}

static void a_failed_bundle_is_tried_again_only_when_asked(void **state)
{
    (void)state;
    enum update_event event;
    struct update_row row = {.slot = "digits", .want = want_of(2), .generation = 5, .phase = UPDATE_FAILED};
    struct desired_slot want = want_of(2);
    want.asked = 5;
    assert_false(update_want(&row, &want, 9, true, &event)); /* a hold has moved the document's generation */
    want.asked = 6;
    assert_true(update_want(&row, &want, 9, true, &event));
}

/* A complete document that does not name the slot takes back what is not applied yet, and nothing else. */
static void unnamed(void **state)
{
    (void)state;
    for (int phase = 0; phase < UPDATE_PHASES_; phase++) {
        struct update_row row = {.slot = "digits", .phase = (enum update_phase)phase, .want = want_of(2)};
        struct desired_slot want = {0};
        (void)bundle_id(1, row.committed);
        bool unapplied = phase == UPDATE_DOWNLOADING || phase == UPDATE_VERIFYING || phase == UPDATE_STAGING ||
                         phase == UPDATE_STAGED || phase == UPDATE_HELD;
        assert_int_equal(update_unnamed(&row, &want), unapplied);
        if (!unapplied)
            continue;
        (void)update_step(&row, &(struct update_input){.event = UPDATE_WANT_COMMITTED, .want = &want, .generation = 7});
        assert_int_equal(row.phase, UPDATE_IDLE);
        assert_string_equal(row.want.bundle, row.committed);
    }
    struct update_row first = {
        .slot = "digits", .phase = UPDATE_HELD, .want = want_of(2)}; /* nothing was there before */
    struct desired_slot want;
    assert_true(update_unnamed(&first, &want));
    (void)update_step(&first, &(struct update_input){.event = UPDATE_WANT_COMMITTED, .want = &want, .generation = 7});
    assert_string_equal(update_phase_wire(&first), "empty");
}

static void retries(void **state)
{
    (void)state;
    struct update_row row = {0};
    for (int i = 0; i < 1000; i++)
        assert_true(update_try_again(&row, "server_unreachable", true));
    assert_int_equal(row.tries, 0);
    assert_true(update_try_again(&row, "object_digest_mismatch", false));
    assert_false(update_try_again(&row, "object_digest_mismatch", false));
    row.tries = 0;
    for (int i = 0; i < 4; i++)
        assert_true(update_try_again(&row, "object_not_found", false));
    assert_false(update_try_again(&row, "object_not_found", false));
    row.tries = 0;
    assert_false(update_try_again(&row, "signature_untrusted", false));
    assert_false(update_try_again(&row, "no_such_code", false));
}

static const char *admit(const struct update_row *row, const struct manifest *m, const char *hardware)
{
    char detail[UPDATE_DETAIL_SIZE] = "";
    const struct update_device device = {.hardware = hardware, .agent_version = "0.1.0"};
    const char *code = update_admit(row, m, &device, detail);
    assert_true(code == NULL || detail[0] != '\0');
    return code;
}

static void admission(void **state)
{
    (void)state;
    struct update_row row = {.slot = "digits", .counter = 5};
    struct manifest m = {.kind = MANIFEST_MODEL, .slot = "digits", .version = "2.0.0", .release_counter = 5};
    const char *hardware[] = {"nuc", "orin"};
    (void)bundle_id(3, m.id);
    assert_null(admit(&row, &m, ""));
    m.release_counter = 4;
    assert_string_equal(admit(&row, &m, ""), "counter_too_low");
    (void)bundle_id(3, row.previous); /* a way back is always open */
    assert_null(admit(&row, &m, ""));
    m.release_counter = 6;
    m.requires_ = (struct manifest_requires){.hardware_count = 2, .hardware = hardware};
    assert_string_equal(admit(&row, &m, "pi"), "does_not_fit");
    assert_null(admit(&row, &m, "orin"));
    m.requires_.min_agent = "0.1.1";
    assert_string_equal(admit(&row, &m, "orin"), "agent_too_old");
    m.requires_.min_agent = "0.0.9";
    assert_null(admit(&row, &m, "orin"));
    m.kind = MANIFEST_APP;
    assert_null(admit(&row, &m, "orin"));
    m.kind = MANIFEST_AGENT;
    assert_string_equal(admit(&row, &m, "orin"), "slot_mismatch");
    m.kind = MANIFEST_MODEL;
    m.slot = "faces";
    assert_string_equal(admit(&row, &m, "orin"), "slot_mismatch");
}

static void recovery(void **state)
{
    (void)state;
    char id[SHA256_HEX];
    char current[SHA256_HEX];
    struct update_disk disk = {.committed_here = true, .previous_here = true, .current = bundle_id(2, current)};
    struct update_row row = row_in_probation();
    assert_false(update_recover(&row, &disk));
    assert_int_equal(row.boots, 0);
    disk.rebooted = true;
    assert_false(update_recover(&row, &disk));
    assert_false(update_recover(&row, &disk));
    assert_true(update_recover(&row, &disk)); /* the third boot in one probation */
    row = row_in_probation();
    row.phase = UPDATE_IDLE;
    row.want = want_of(1);
    disk = (struct update_disk){.committed_here = false, .previous_here = false, .current = ""};
    assert_false(update_recover(&row, &disk));
    assert_string_equal(row.committed, "");
    assert_string_equal(row.previous, "");
    assert_string_equal(row.want.bundle, ""); /* so the document's bundle is wanted anew */
    row = row_in_probation();
    row.phase = UPDATE_DOWNLOADING;
    disk.current = bundle_id(7, current);
    assert_false(update_recover(&row, &disk));
    assert_string_equal(row.committed, bundle_id(7, id));
}

static void names(void **state)
{
    (void)state;
    for (int i = 0; i < UPDATE_PHASES_; i++) {
        enum update_phase phase = UPDATE_IDLE;
        assert_true(update_phase_parse(update_phase_name((enum update_phase)i), &phase));
        assert_int_equal(phase, i);
    }
    enum update_phase phase = UPDATE_HELD;
    assert_false(update_phase_parse("flying", &phase));
    assert_int_equal(phase, UPDATE_HELD);
    assert_string_equal(update_word("rolled_back"), "rolled_back");
    assert_null(update_word(""));
}

/* ---------------------------------------------------------------- random walks */

enum { BUNDLES = 8, NONE = -1 };

/* A device and its server, as far as updates go. */
struct world {
    uint64_t seed;
    struct update_row journal, row; /* on the disk, and in memory */
    bool object_here[BUNDLES];      /* fetched */
    bool unpacked[BUNDLES];
    bool complete[BUNDLES]; /* a version's directory */
    int current;            /* what the link names */
    int64_t counters[BUNDLES];
    bool doomed[BUNDLES], unfit[BUNDLES]; /* fails its probation; fails its verification */
    int wanted;
    bool held;
    int64_t generation;
    bool faults; /* things may go wrong */
    bool full;   /* the journal cannot be written */
    enum update_action todo;
    int64_t highest;
    unsigned commits, rollbacks, failures, crashes, unstored;
};

static uint32_t pick(struct world *w, uint32_t below)
{
    w->seed = w->seed * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(w->seed >> 33) % below;
}

static bool chance(struct world *w, uint32_t percent)
{
    return w->faults && pick(w, 100) < percent;
}

static int number_of(const char *bundle)
{
    char id[SHA256_HEX];
    for (int i = 0; i < BUNDLES; i++)
        if (text_eq(bundle, bundle_id(i, id)))
            return i;
    return NONE;
}

static void check(const struct world *w)
{
    const struct update_row *row = &w->row;
    int committed = number_of(row->committed);
    assert_true(committed != NONE || row->committed[0] == '\0');
    if (committed != NONE) {
        assert_true(w->complete[committed]);
        assert_int_not_equal(w->current, NONE);
    }
    if (w->current != NONE)
        assert_true(w->complete[w->current]);
    assert_true(row->counter >= w->highest);
    if (row->phase == UPDATE_IDLE)
        assert_string_equal(row->want.bundle, row->committed);
    if (row->phase == UPDATE_FAILED) {
        assert_non_null(row->stage);
        assert_non_null(row->device_left);
        assert_true(row->code[0] != '\0');
    }
    if (row->phase <= UPDATE_HELD && w->current != NONE)
        assert_int_equal(w->current, committed);
}

/* One event, stored and then acted upon; a crash may come in between, and the disk may be full. */
static void world_event(struct world *w, enum update_event event, const char *code)
{
    struct desired_slot want = want_of(w->wanted);
    struct update_row row = w->row;
    want.hold.on = w->held;
    struct update_input input = {
        .event = event, .want = &want, .generation = w->generation, .code = code, .detail = "walk"};
    struct update_output output = update_step(&row, &input);
    if (output.ignored)
        return;
    if (w->full) {
        enum update_unstored what = update_unstored(row.phase, event);
        w->unstored++;
        if (what == UPDATE_LATER)
            w->todo = update_resume(w->row.phase);
        if (what == UPDATE_GIVE_UP)
            world_event(w, is_want(event) ? UPDATE_WANT_REFUSED : UPDATE_FAIL, "disk_full");
        if (what != UPDATE_ACCEPT)
            return;
    }
    if (event == UPDATE_PASSED) {
        bool way_back = text_eq(row.want.bundle, w->row.previous);
        assert_true(way_back || w->counters[number_of(row.want.bundle)] >= w->row.counter);
        w->commits++;
    }
    w->rollbacks += output.report == UPDATE_REPORT_ROLLED_BACK;
    w->failures += output.report == UPDATE_REPORT_FAILED;
    if (!w->full)
        w->journal = row;
    w->row = row;
    w->highest = row.counter;
    w->todo = output.action;
}

static void world_link(struct world *w)
{
    int current = number_of(update_current(&w->row));
    bool switches = w->row.phase == UPDATE_SWITCHING && current != w->current;
    assert_false(switches && w->row.want.hold.on);
    if (current == NONE || w->complete[current])
        w->current = current;
}

static void act_stage(struct world *w, int target)
{
    char detail[UPDATE_DETAIL_SIZE];
    const struct update_device device = {.hardware = "", .agent_version = "0.1.0"};
    struct manifest m = {.kind = MANIFEST_MODEL, .slot = "digits", .release_counter = w->counters[target]};
    (void)bundle_id(target, m.id);
    if (!w->complete[target] && !w->unpacked[target]) {
        world_event(w, UPDATE_REDO, NULL);
        return;
    }
    const char *code = update_admit(&w->row, &m, &device, detail);
    w->row.target_counter = m.release_counter;
    if (code != NULL || chance(w, 3)) {
        world_event(w, UPDATE_FAIL, code != NULL ? code : "disk_full");
        return;
    }
    w->complete[target] = true;
    world_event(w, UPDATE_STAGED_OK, NULL);
}

static void act_switch(struct world *w, int target)
{
    if (!w->complete[target]) {
        world_event(w, UPDATE_REDO, NULL);
        return;
    }
    if (w->row.want.hold.on && w->current != target) {
        world_event(w, UPDATE_HOLD, NULL);
        return;
    }
    if (!chance(w, 3))
        world_link(w);
    if (w->current != target)
        world_event(w, UPDATE_FAIL, "io_error");
    else
        world_event(w, UPDATE_SWITCHED, NULL);
}

static void act_restore(struct world *w)
{
    world_link(w);
    if (chance(w, 5))
        world_event(w, UPDATE_LOST, "infer_start_failed");
    else
        world_event(w, UPDATE_RESTORED, NULL);
}

static void act_tidy(struct world *w)
{
    world_link(w);
    for (int i = 0; i < BUNDLES; i++) {
        char id[SHA256_HEX];
        (void)bundle_id(i, id);
        w->object_here[i] = false;
        w->unpacked[i] = false;
        if (!text_eq(id, w->row.committed) && !text_eq(id, w->row.previous) && w->current != i)
            w->complete[i] = false;
    }
}

static void act(struct world *w)
{
    int target = number_of(w->row.want.bundle);
    enum update_action todo = w->todo;
    w->todo = UPDATE_DO_NOTHING;
    switch (todo) {
    case UPDATE_DO_FETCH:
        world_link(w);
        w->object_here[target] = true;
        if (chance(w, 5))
            world_event(w, UPDATE_FAIL, "object_digest_mismatch");
        else if (chance(w, 30))
            w->todo = todo; /* the server was away */
        else
            world_event(w, UPDATE_FETCHED, NULL);
        return;
    case UPDATE_DO_UNPACK:
        if (!w->object_here[target]) {
            world_event(w, UPDATE_REDO, NULL);
            return;
        }
        w->unpacked[target] = !w->unfit[target];
        world_event(w, w->unfit[target] ? UPDATE_FAIL : UPDATE_VERIFIED, "signature_untrusted");
        return;
    case UPDATE_DO_STAGE:
        act_stage(w, target);
        return;
    case UPDATE_DO_DECIDE:
        world_event(w, w->row.want.hold.on ? UPDATE_HOLD : UPDATE_GO, NULL);
        return;
    case UPDATE_DO_WAIT:
        if (!w->row.want.hold.on)
            world_event(w, UPDATE_GO, NULL);
        return;
    case UPDATE_DO_SWITCH:
        act_switch(w, target);
        return;
    case UPDATE_DO_WATCH:
        world_link(w);
        assert_true(w->current == target || !w->complete[target]); /* given up and tidied, but never stored so */
        world_event(w, w->current != target || w->doomed[target] || chance(w, 5) ? UPDATE_FAIL : UPDATE_PASSED,
                    "infer_crashed");
        return;
    case UPDATE_DO_RESTORE:
        act_restore(w);
        return;
    case UPDATE_DO_TIDY:
        act_tidy(w);
        return;
    case UPDATE_DO_NOTHING:
        return;
    }
}

/* The server's newest document reaches the device. */
static void reconcile(struct world *w)
{
    struct desired_slot want = want_of(w->wanted);
    enum update_event event;
    int previous = number_of(w->row.previous);
    want.hold.on = w->held;
    if (update_want(&w->row, &want, w->generation, previous != NONE && w->complete[previous], &event)) {
        world_event(w, event, NULL);
    } else if (text_eq(w->row.want.bundle, want.bundle)) {
        w->row.want = want;
        if (!w->full)
            w->journal = w->row;
        if (w->row.phase == UPDATE_HELD)
            w->todo = UPDATE_DO_WAIT;
    }
}

/* kill -9, or a power cut: memory is gone, the disk is not. */
static void crash(struct world *w)
{
    char current[SHA256_HEX] = "";
    w->crashes++;
    w->row = w->journal;
    int committed = number_of(w->row.committed);
    int previous = number_of(w->row.previous);
    if (w->current != NONE)
        (void)bundle_id(w->current, current);
    struct update_disk disk = {.committed_here = committed == NONE || w->complete[committed],
                               .previous_here = previous != NONE && w->complete[previous],
                               .current = current,
                               .rebooted = pick(w, 2) == 0};
    if (update_recover(&w->row, &disk))
        world_event(w, UPDATE_FAIL, "infer_crashed");
    else
        w->todo = update_resume(w->row.phase);
}

static void server_changes(struct world *w)
{
    w->generation++;
    if (pick(w, 3) != 0)
        w->wanted = (int)pick(w, BUNDLES);
    w->held = pick(w, 4) == 0;
}

static void settle(struct world *w)
{
    w->faults = false;
    w->full = false;
    w->held = false;
    w->generation++;
    for (int i = 0; i < 40; i++) {
        reconcile(w);
        act(w);
        check(w);
    }
    char id[SHA256_HEX];
    (void)bundle_id(w->wanted, id);
    assert_string_equal(w->row.want.bundle, id);
    assert_true(w->row.phase == UPDATE_IDLE || w->row.phase == UPDATE_FAILED);
    bool good = !w->doomed[w->wanted] && !w->unfit[w->wanted];
    bool low = w->counters[w->wanted] < w->row.counter;
    if (good && !low)
        assert_int_equal(w->row.phase, UPDATE_IDLE);
    if (w->row.phase == UPDATE_FAILED && good)
        assert_string_equal(w->row.code, "counter_too_low");
}

static void walk(uint64_t seed, int length, struct world *w)
{
    *w = (struct world){.seed = seed, .current = NONE, .faults = true, .generation = 1};
    (void)text_copy(w->row.slot, sizeof w->row.slot, "digits");
    w->journal = w->row;
    for (int i = 0; i < BUNDLES; i++) {
        w->counters[i] = (int64_t)pick(w, 5) + 1;
        w->doomed[i] = pick(w, 5) == 0;
        w->unfit[i] = pick(w, 8) == 0;
    }
    for (int i = 0; i < length; i++) {
        uint32_t what = pick(w, 20);
        if (what == 0)
            server_changes(w);
        if (what <= 2)
            reconcile(w);
        if (what == 3)
            crash(w);
        if (pick(w, 40) == 0)
            w->full = !w->full && pick(w, 4) == 0;
        if (what > 3)
            act(w);
        check(w);
    }
    settle(w);
}

static void random_walks(void **state)
{
    (void)state;
    enum { WALKS = 400, LENGTH = 500 };
    unsigned commits = 0;
    unsigned rollbacks = 0;
    unsigned failures = 0;
    unsigned crashes = 0;
    unsigned unstored = 0;
    for (uint64_t seed = 1; seed <= WALKS; seed++) {
        struct world w;
        walk(seed, LENGTH, &w);
        commits += w.commits;
        rollbacks += w.rollbacks;
        failures += w.failures;
        crashes += w.crashes;
        unstored += w.unstored;
    }
    print_message("%d steps: %u commits, %u rollbacks, %u failures, %u crashes, %u times no space\n", WALKS * LENGTH,
                  commits, rollbacks, failures, crashes, unstored);
    /* The walks went where it is interesting. */
    assert_true(commits > 500 && rollbacks > 300 && failures > 1000 && crashes > 5000 && unstored > 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cell),
        cmocka_unit_test(first_install_commits),
        cmocka_unit_test(failed_probation_rolls_back),
        cmocka_unit_test(lost_way_back_says_so),
        cmocka_unit_test(superseded_in_probation_withdraws),
        cmocka_unit_test(refused_target_fails_without_change),
        cmocka_unit_test(wants),
        cmocka_unit_test(a_failed_bundle_is_tried_again_only_when_asked),
        cmocka_unit_test(unnamed),
        cmocka_unit_test(retries),
        cmocka_unit_test(admission),
        cmocka_unit_test(recovery),
        cmocka_unit_test(names),
        cmocka_unit_test(random_walks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
