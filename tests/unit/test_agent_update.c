/* The update of a slot: every cell of its table, the decisions around it, and long random walks of a device that
 * crashes, is held, superseded, restarted and lied to, against what must never happen. */
#include "agent/core/admit.h"
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
    struct desired_slot want = {.name = "digits", .version = "1.0.0"};
    (void)bundle_id(n, want.bundle);
    want.objects[want.object_count].size = 100;
    (void)bundle_id(1000 + n, want.objects[want.object_count++].sha256);
    return want;
}

/* The same with a delta from bundle `from` before the full object. */
static struct desired_slot want_with_delta(int n, int from)
{
    struct desired_slot want = want_of(n);
    want.objects[1] = want.objects[0];
    want.objects[0] = (struct desired_object){.size = 10};
    (void)bundle_id(2000 + 100 * from + n, want.objects[0].sha256);
    (void)bundle_id(from, want.objects[0].from);
    want.object_count = 2;
    return want;
}

static const struct update_here both_here = {.committed = true, .previous = true};

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
    {P(DOWNLOADING), E(NEXT), P(DOWNLOADING), P(REPORT_NONE)},
    {P(DOWNLOADING), E(FAIL), P(FAILED), P(REPORT_FAILED)},
    {P(VERIFYING), E(VERIFIED), P(STAGING), P(REPORT_VERIFIED)},
    {P(VERIFYING), E(NEXT), P(DOWNLOADING), P(REPORT_NONE)},
    {P(VERIFYING), E(REDO), P(DOWNLOADING), P(REPORT_NONE)},
    {P(VERIFYING), E(FAIL), P(FAILED), P(REPORT_FAILED)},
    {P(STAGING), E(STAGED_OK), P(TESTING), P(REPORT_STAGED)},
    {P(STAGING), E(REDO), P(DOWNLOADING), P(REPORT_NONE)},
    {P(STAGING), E(FAIL), P(FAILED), P(REPORT_FAILED)},
    {P(TESTING), E(TESTED), P(STAGED), P(REPORT_TESTED)},
    {P(TESTING), E(REDO), P(DOWNLOADING), P(REPORT_NONE)},
    {P(TESTING), E(FAIL), P(FAILED), P(REPORT_FAILED)},
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
    if (event == UPDATE_BACK) {
        *to = UPDATE_RESTORING;
        *report = UPDATE_REPORT_FAILED;
        return from != UPDATE_RESTORING && from != UPDATE_WITHDRAWING;
    }
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
    assert_string_equal(update_phase_wire(&row), "testing");
    (void)give(&row, UPDATE_TESTED);
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
                         phase == UPDATE_TESTING || phase == UPDATE_STAGED || phase == UPDATE_HELD;
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
    struct update_row row = {.phase = UPDATE_DOWNLOADING};
    for (int i = 0; i < 1000; i++)
        assert_int_equal(update_retry(&row, "server_unreachable", true, both_here), UPDATE_TRY_AGAIN);
    assert_int_equal(row.tries, 0);
    assert_int_equal(update_retry(&row, "object_digest_mismatch", false, both_here), UPDATE_TRY_AGAIN);
    assert_int_equal(update_retry(&row, "object_digest_mismatch", false, both_here), UPDATE_TRY_NOT);
    row.tries = 0;
    for (int i = 0; i < 4; i++)
        assert_int_equal(update_retry(&row, "object_not_found", false, both_here), UPDATE_TRY_AGAIN);
    assert_int_equal(update_retry(&row, "object_not_found", false, both_here), UPDATE_TRY_NOT);
    row.tries = 0;
    assert_int_equal(update_retry(&row, "signature_untrusted", false, both_here), UPDATE_TRY_NOT);
    assert_int_equal(update_retry(&row, "no_such_code", false, both_here), UPDATE_TRY_NOT);
}

/* ---------------------------------------------------------------- ways to get a bundle */

/* A row that has 1 committed, 0 before that, and fetches 2, of which there is a delta from `from`. */
static struct update_row row_with_delta(int from, enum update_phase phase)
{
    struct update_row row = {.slot = "digits", .phase = phase, .want = want_with_delta(2, from)};
    (void)bundle_id(1, row.committed);
    (void)bundle_id(0, row.previous);
    return row;
}

static void a_delta_needs_its_base(void **state)
{
    (void)state;
    const struct update_here none = {0};
    const struct update_here committed = {.committed = true};
    struct update_row row = row_with_delta(1, UPDATE_DOWNLOADING);
    assert_ptr_equal(update_object(&row, both_here), &row.want.objects[0]);
    assert_ptr_equal(update_object(&row, committed), &row.want.objects[0]);
    assert_ptr_equal(update_object(&row, none), &row.want.objects[1]); /* its files are gone */
    row = row_with_delta(0, UPDATE_DOWNLOADING);
    assert_ptr_equal(update_object(&row, both_here), &row.want.objects[0]); /* the version before will do, too */
    assert_ptr_equal(update_object(&row, committed), &row.want.objects[1]);
    row = row_with_delta(7, UPDATE_DOWNLOADING); /* the device has never had it */
    assert_ptr_equal(update_object(&row, both_here), &row.want.objects[1]);
    row.want.object_count = 1;
    assert_null(update_object(&row, both_here));
    row = row_with_delta(1, UPDATE_DOWNLOADING);
    row.committed[0] = '\0'; /* an empty slot: "" is nobody's base */
    row.want.objects[0].failed = true;
    assert_ptr_equal(update_object(&row, both_here), &row.want.objects[1]);
}

static void whatever_a_delta_does_the_full_one_follows(void **state)
{
    (void)state;
    static const char *const codes[] = {"object_not_found",    "server_refused",   "object_digest_mismatch",
                                        "delta_wrong_base",    "delta_invalid",    "delta_unsupported",
                                        "signature_untrusted", "payload_mismatch", "manifest_invalid",
                                        "disk_full",           "io_error",         "does_not_fit"};
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        for (enum update_phase phase = UPDATE_DOWNLOADING; phase <= UPDATE_VERIFYING; phase++) {
            struct update_row row = row_with_delta(1, phase);
            assert_true(update_pick(&row, both_here));
            assert_string_equal(row.object.from, row.committed);
            row.downloaded = 7;
            row.tries = 1;
            assert_int_equal(update_retry(&row, codes[i], false, both_here), UPDATE_TRY_NEXT);
            struct update_input next = {.event = UPDATE_NEXT, .code = codes[i], .detail = "x"};
            struct update_output output = update_step(&row, &next);
            assert_int_equal(output.action, UPDATE_DO_FETCH);
            assert_int_equal(row.phase, UPDATE_DOWNLOADING);
            assert_int_equal(row.downloaded, 0);
            assert_int_equal(row.tries, 0);
            assert_string_equal(row.code, ""); /* the update has not failed */
            assert_true(update_pick(&row, both_here));
            assert_string_equal(row.object.from, "");
            assert_int_not_equal(update_retry(&row, codes[i], false, both_here), UPDATE_TRY_NEXT); /* it was the last */
        }
    }
}

static void memory_and_servers_of_a_delta(void **state)
{
    (void)state;
    struct update_row row = row_with_delta(1, UPDATE_VERIFYING);
    assert_true(update_pick(&row, both_here));
    assert_int_equal(update_retry(&row, "internal", true, both_here), UPDATE_TRY_NEXT); /* the rebuild was killed */
    assert_int_equal(update_retry(&row, "part_missing", false, both_here), UPDATE_TRY_AGAIN);
    row.phase = UPDATE_DOWNLOADING;
    row.tries = 0;
    for (int i = 0; i < 1000; i++) /* the network, and a busy server, are the same for every object */
        assert_int_equal(update_retry(&row, i % 2 == 0 ? "server_unreachable" : "server_unavailable", true, both_here),
                         UPDATE_TRY_AGAIN);
    for (int i = 0; i < 4; i++)
        assert_int_equal(update_retry(&row, "server_failed", true, both_here), UPDATE_TRY_AGAIN);
    assert_int_equal(update_retry(&row, "server_failed", true, both_here), UPDATE_TRY_NEXT);
    row.want.objects[1].failed = true; /* nothing else is left: then it is tried for ever */
    for (int i = 0; i < 100; i++)
        assert_int_equal(update_retry(&row, "server_failed", true, both_here), UPDATE_TRY_AGAIN);
}

static void a_newer_document_of_the_same_target(void **state)
{
    (void)state;
    struct desired_slot full = want_of(2);
    struct desired_slot delta = want_with_delta(2, 1);
    struct update_row row = row_with_delta(1, UPDATE_DOWNLOADING);
    row.want = full;
    assert_true(update_pick(&row, both_here));
    row.downloaded = 50;
    assert_true(update_refresh(&row, &delta, both_here)); /* the delta has 10 bytes, 50 of the full one are missing */
    assert_true(update_pick(&row, both_here));
    assert_int_equal(row.object.size, 10);
    assert_int_equal(row.downloaded, 0);
    row.want = full;
    row.object = full.objects[0];
    row.downloaded = 95;
    assert_false(update_refresh(&row, &delta, both_here));
    assert_true(update_pick(&row, both_here)); /* goes on with what it has */
    assert_int_equal(row.object.size, 100);
    row.want.objects[0].failed = true;
    assert_false(update_refresh(&row, &delta, both_here));
    assert_true(row.want.objects[0].failed); /* is not forgotten */
    /* What is being fetched is not named any more: it is gone on with, but is nobody's first choice. */
    row = row_with_delta(1, UPDATE_DOWNLOADING);
    assert_true(update_pick(&row, both_here));
    row.downloaded = 3;
    assert_false(update_refresh(&row, &full, both_here));
    assert_int_equal(row.want.object_count, 2);
    assert_true(update_pick(&row, both_here));
    assert_int_equal(row.object.size, 10);
    assert_int_equal(row.downloaded, 3);
    assert_int_equal(update_retry(&row, "object_not_found", false, both_here), UPDATE_TRY_NEXT);
    row.phase = UPDATE_VERIFYING; /* it is here already */
    assert_false(update_refresh(&row, &full, both_here));
    assert_true(update_pick(&row, both_here));
    assert_int_equal(row.object.size, 10);
    row.phase = UPDATE_HELD;
    assert_false(update_refresh(&row, &full, both_here));
    assert_int_equal(row.want.object_count, 1);
}

/* ---------------------------------------------------------------- going back at the device */

static struct update_output take_back(struct update_row *row, int64_t generation)
{
    struct update_input input = {
        .event = UPDATE_BACK, .generation = generation, .code = "rolled_back_locally", .detail = "by uid 0"};
    return update_step(row, &input);
}

static void going_back_by_hand(void **state)
{
    (void)state;
    char id[SHA256_HEX];
    enum update_event event = UPDATE_FAIL;
    struct update_row row = {.slot = "digits", .want = want_of(1), .generation = 5, .counter = 9};
    (void)bundle_id(1, row.committed);
    (void)bundle_id(0, row.previous);
    assert_string_equal(update_back_to(&row), bundle_id(0, id));
    assert_null(update_back(&row, both_here, &event));
    assert_int_equal(event, UPDATE_BACK);
    struct update_output output = take_back(&row, 8);
    assert_int_equal(output.action, UPDATE_DO_RESTORE);
    assert_int_equal(output.report, UPDATE_REPORT_FAILED);
    assert_string_equal(output.bundle, bundle_id(1, id));
    assert_string_equal(row.previous, bundle_id(1, id));
    assert_string_equal(update_current(&row), bundle_id(0, id));
    assert_non_null(update_back(&row, both_here, &event)); /* not twice at once */
    assert_int_equal(give(&row, UPDATE_RESTORED).report, UPDATE_REPORT_ROLLED_BACK);
    assert_string_equal(update_phase_wire(&row), "failed");
    assert_string_equal(row.code, "rolled_back_locally");
    assert_string_equal(row.stage, "switch");
    assert_string_equal(row.device_left, "rolled_back");
    assert_string_equal(row.want.bundle, bundle_id(1, id));
    assert_int_equal(row.counter, 9);
    /* The document that was there, and any that only moves a hold, changes nothing; one that asks again does. */
    struct desired_slot want = want_of(1);
    want.asked = 5;
    assert_false(update_want(&row, &want, 8, true, &event));
    assert_false(update_want(&row, &want, 12, true, &event));
    want.asked = 13;
    assert_true(update_want(&row, &want, 13, true, &event));
    assert_int_equal(event, UPDATE_WANT_LOCAL); /* its files are here */
    /* And by hand it is an update like any other: a hold counts, and probation. */
    assert_null(update_back(&row, both_here, &event));
    assert_int_equal(event, UPDATE_WANT_LOCAL);
}

static void going_back_needs_a_version(void **state)
{
    (void)state;
    enum update_event event;
    const struct update_here not_before = {.committed = true};
    struct update_row row = {.slot = "digits", .want = want_of(1)};
    (void)bundle_id(1, row.committed);
    assert_non_null(update_back(&row, both_here, &event)); /* none */
    (void)bundle_id(0, row.previous);
    assert_non_null(update_back(&row, not_before, &event)); /* not complete */
    row.phase = UPDATE_PROBATION;
    row.want = want_of(2);
    assert_null(update_back(&row, not_before, &event)); /* out of a probation it is what is committed */
    row.committed[0] = '\0';
    assert_non_null(update_back(&row, both_here, &event));
}

static void going_back_out_of_an_update(void **state)
{
    (void)state;
    char id[SHA256_HEX];
    struct update_row row = row_in_probation();
    assert_string_equal(update_back_to(&row), bundle_id(1, id));
    (void)take_back(&row, 7);
    assert_string_equal(row.committed, bundle_id(1, id)); /* what was committed before the update stays so */
    assert_string_equal(row.previous, bundle_id(0, id));
    assert_string_equal(update_current(&row), bundle_id(1, id));
    row = row_with_delta(1, UPDATE_HELD);
    (void)take_back(&row, 7);
    assert_string_equal(row.committed, bundle_id(0, id)); /* one step back from what runs, and 2 is not wanted either */
    (void)give(&row, UPDATE_RESTORED);
    enum update_event event;
    struct desired_slot want = want_with_delta(2, 1);
    want.asked = 7;
    assert_false(update_want(&row, &want, 9, true, &event));
}

/* ---------------------------------------------------------------- admission */

static const struct update_device plain_device = {.hardware = "",
                                                  .agent_version = "0.1.0",
                                                  .runtime = "1.21.0",
                                                  .accelerators = "npu, cuda",
                                                  .memory_total = (int64_t)512 << 20,
                                                  .disk_free = (int64_t)100 << 20};

static const char *admit_on(const struct update_row *row, const struct manifest *m, const struct update_device *device,
                            const char *says)
{
    char detail[UPDATE_DETAIL_SIZE] = "";
    const char *code = update_admit(row, m, device, detail);
    assert_true(code == NULL || detail[0] != '\0');
    if (says != NULL)
        assert_non_null(strstr(detail, says));
    return code;
}

static const char *admit(const struct update_row *row, const struct manifest *m, const char *hardware)
{
    struct update_device device = plain_device;
    device.hardware = hardware;
    return admit_on(row, m, &device, NULL);
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

/* Each text says what is needed and what is there. */
static void admission_of_equipment(void **state)
{
    (void)state;
    struct update_row row = {.slot = "digits"};
    struct manifest m = {.kind = MANIFEST_MODEL, .slot = "digits", .version = "2.0.0", .release_counter = 5};
    struct update_device device = plain_device;
    const char *accelerators[] = {"tensorrt", "cuda"};
    (void)bundle_id(3, m.id);
    m.requires_ = (struct manifest_requires){.runtime = "1.21.1"};
    assert_string_equal(admit_on(&row, &m, &device, "needs ONNX Runtime 1.21.1"), "runtime_unfit");
    assert_string_equal(admit_on(&row, &m, &device, "has 1.21.0"), "runtime_unfit");
    m.requires_.runtime = "1.9.0";
    assert_null(admit_on(&row, &m, &device, NULL));
    device.runtime = ""; /* not known yet */
    m.requires_.runtime = "99.0.0";
    assert_null(admit_on(&row, &m, &device, NULL));
    m.requires_ = (struct manifest_requires){.memory = ((int64_t)512 << 20) + 1};
    assert_string_equal(admit_on(&row, &m, &device, "513 MiB of memory; this one has 512"), "does_not_fit");
    m.requires_.memory--;
    assert_null(admit_on(&row, &m, &device, NULL));
    m.requires_ = (struct manifest_requires){.disk = ((int64_t)100 << 20) + 1};
    assert_string_equal(admit_on(&row, &m, &device, "needs 101 MiB of free disk"), "does_not_fit");
    m.requires_.disk--;
    assert_null(admit_on(&row, &m, &device, NULL));
    device.disk_free = -1;
    m.requires_.disk = INT64_MAX;
    assert_null(admit_on(&row, &m, &device, NULL));
    m.requires_ = (struct manifest_requires){.accelerator_count = 2, .accelerators = accelerators};
    assert_null(admit_on(&row, &m, &device, NULL));
    device.accelerators = "npu,cud, cuda2";
    assert_string_equal(admit_on(&row, &m, &device, "tensorrt, cuda; this device has npu"), "does_not_fit");
    device.accelerators = "";
    assert_string_equal(admit_on(&row, &m, &device, "this device has none"), "does_not_fit");
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
    bool object_here[BUNDLES];      /* fetched, in full */
    bool delta_here[BUNDLES];       /* the delta to it */
    bool bad_delta[BUNDLES];        /* the one to it cannot be applied */
    bool unpacked[BUNDLES];
    bool complete[BUNDLES]; /* a version's directory */
    int current;            /* what the link names */
    int64_t counters[BUNDLES];
    bool doomed[BUNDLES], unfit[BUNDLES]; /* fails its probation; fails its verification */
    int wanted;
    bool held;
    int64_t generation, asked;
    bool faults; /* things may go wrong */
    bool full;   /* the journal cannot be written */
    enum update_action todo;
    int64_t highest;
    unsigned commits, rollbacks, failures, crashes, unstored, deltas, nexts, backs;
    int taken_back; /* a bundle that somebody at the device does not want, NONE: none */
    int64_t taken_back_at;
};

/* Every bundle can be had as a delta from the one before it, too. */
static struct desired_slot want_now(const struct world *w)
{
    struct desired_slot want = w->wanted == 0 ? want_of(0) : want_with_delta(w->wanted, w->wanted - 1);
    want.hold.on = w->held;
    want.asked = w->asked;
    return want;
}

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
    struct desired_slot want = want_now(w);
    struct update_row row = w->row;
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
    w->nexts += event == UPDATE_NEXT;
    /* What was taken back by hand does not come again before it is asked for anew. */
    bool switches = event == UPDATE_SWITCHED && w->taken_back != NONE;
    if (switches && number_of(row.want.bundle) == w->taken_back)
        assert_true(w->asked > w->taken_back_at);
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

static struct update_here world_here(const struct world *w)
{
    int committed = number_of(w->row.committed);
    int previous = number_of(w->row.previous);
    return (struct update_here){.committed = committed != NONE && w->complete[committed],
                                .previous = previous != NONE && w->complete[previous]};
}

/* A step has failed; what to do is not the walk's to say. */
static void world_failure(struct world *w, const char *code, bool transient)
{
    enum update_action again = update_resume(w->row.phase);
    switch (update_retry(&w->row, code, transient, world_here(w))) {
    case UPDATE_TRY_AGAIN:
        w->todo = again;
        return;
    case UPDATE_TRY_NEXT:
        assert_true(w->row.object.from[0] != '\0');
        world_event(w, UPDATE_NEXT, code);
        return;
    case UPDATE_TRY_NOT:
        world_event(w, UPDATE_FAIL, code);
        return;
    }
}

static void act_fetch(struct world *w, int target)
{
    world_link(w);
    if (!update_pick(&w->row, world_here(w))) {
        world_event(w, UPDATE_FAIL, "object_not_found");
        return;
    }
    bool delta = w->row.object.from[0] != '\0';
    if (chance(w, 8)) {
        world_failure(w, "object_digest_mismatch", false);
        return;
    }
    if (chance(w, 30)) {
        world_failure(w, "server_unreachable", true);
        return;
    }
    w->object_here[target] = w->object_here[target] || !delta;
    w->delta_here[target] = w->delta_here[target] || delta;
    w->deltas += delta;
    world_event(w, UPDATE_FETCHED, NULL);
}

static void act_unpack(struct world *w, int target)
{
    bool delta = w->row.object.from[0] != '\0';
    int from = number_of(w->row.object.from);
    if (delta ? !w->delta_here[target] : !w->object_here[target]) {
        world_event(w, UPDATE_REDO, NULL);
    } else if (delta && (w->bad_delta[target] || !w->complete[from])) {
        world_failure(w, w->bad_delta[target] ? "delta_invalid" : "delta_wrong_base", false);
    } else if (delta && chance(w, 10)) {
        world_failure(w, "internal", true); /* no memory */
    } else if (w->unfit[target]) {
        world_failure(w, "signature_untrusted", false);
    } else {
        w->unpacked[target] = true;
        world_event(w, UPDATE_VERIFIED, NULL);
    }
}

static void act_stage(struct world *w, int target)
{
    char detail[UPDATE_DETAIL_SIZE];
    const struct update_device device = plain_device;
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
        w->delta_here[i] = false;
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
        act_fetch(w, target);
        return;
    case UPDATE_DO_UNPACK:
        act_unpack(w, target);
        return;
    case UPDATE_DO_TEST:
        if (!w->complete[target])
            world_event(w, UPDATE_REDO, NULL);
        else
            world_event(w, chance(w, 4) ? UPDATE_FAIL : UPDATE_TESTED, "selftest_failed");
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
    struct desired_slot want = want_now(w);
    enum update_event event;
    int previous = number_of(w->row.previous);
    if (update_want(&w->row, &want, w->generation, previous != NONE && w->complete[previous], &event)) {
        world_event(w, event, NULL);
    } else if (text_eq(w->row.want.bundle, want.bundle)) {
        bool anew = update_refresh(&w->row, &want, world_here(w));
        if (!w->full)
            w->journal = w->row;
        if (w->row.phase == UPDATE_HELD)
            w->todo = UPDATE_DO_WAIT;
        if (anew)
            w->todo = UPDATE_DO_FETCH;
    }
}

/* Somebody at the device goes back. */
static void go_back(struct world *w)
{
    enum update_event event;
    char to[SHA256_HEX];
    (void)text_copy(to, sizeof to, update_back_to(&w->row));
    if (update_back(&w->row, world_here(w), &event) != NULL || event != UPDATE_BACK || w->full)
        return;
    world_event(w, UPDATE_BACK, "rolled_back_locally");
    w->backs++;
    assert_int_equal(w->row.phase, UPDATE_RESTORING);
    assert_string_equal(update_current(&w->row), to);
    w->taken_back = number_of(w->row.want.bundle);
    w->taken_back_at = w->generation;
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
    if (pick(w, 3) != 0) {
        w->wanted = (int)pick(w, BUNDLES);
        w->asked = w->generation;
    }
    w->held = pick(w, 4) == 0;
}

static void settle(struct world *w)
{
    w->faults = false;
    w->full = false;
    w->held = false;
    w->asked = ++w->generation;
    for (int i = 0; i < 60; i++) {
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
    *w = (struct world){.seed = seed, .current = NONE, .faults = true, .generation = 1, .asked = 1, .taken_back = NONE};
    (void)text_copy(w->row.slot, sizeof w->row.slot, "digits");
    w->journal = w->row;
    for (int i = 0; i < BUNDLES; i++) {
        w->counters[i] = (int64_t)pick(w, 5) + 1;
        w->doomed[i] = pick(w, 5) == 0;
        w->unfit[i] = pick(w, 8) == 0;
        w->bad_delta[i] = pick(w, 4) == 0;
    }
    for (int i = 0; i < length; i++) {
        uint32_t what = pick(w, 20);
        if (what == 0)
            server_changes(w);
        if (what <= 2)
            reconcile(w);
        if (what == 3)
            crash(w);
        if (pick(w, 60) == 0)
            go_back(w);
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
    unsigned deltas = 0;
    unsigned nexts = 0;
    unsigned backs = 0;
    for (uint64_t seed = 1; seed <= WALKS; seed++) {
        struct world w;
        walk(seed, LENGTH, &w);
        commits += w.commits;
        rollbacks += w.rollbacks;
        failures += w.failures;
        crashes += w.crashes;
        unstored += w.unstored;
        deltas += w.deltas;
        nexts += w.nexts;
        backs += w.backs;
    }
    print_message(
        "%d steps: %u commits, %u rollbacks, %u failures, %u crashes, %u times no space, %u deltas, %u of them "
        "no good, %u times back by hand\n",
        WALKS * LENGTH, commits, rollbacks, failures, crashes, unstored, deltas, nexts, backs);
    /* The walks went where it is interesting. */
    assert_true(commits > 500 && rollbacks > 300 && failures > 1000 && crashes > 5000 && unstored > 500);
    assert_true(deltas > 300 && nexts > 100 && backs > 200);
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
        cmocka_unit_test(a_delta_needs_its_base),
        cmocka_unit_test(whatever_a_delta_does_the_full_one_follows),
        cmocka_unit_test(memory_and_servers_of_a_delta),
        cmocka_unit_test(a_newer_document_of_the_same_target),
        cmocka_unit_test(going_back_by_hand),
        cmocka_unit_test(going_back_needs_a_version),
        cmocka_unit_test(going_back_out_of_an_update),
        cmocka_unit_test(admission),
        cmocka_unit_test(admission_of_equipment),
        cmocka_unit_test(recovery),
        cmocka_unit_test(names),
        cmocka_unit_test(random_walks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
