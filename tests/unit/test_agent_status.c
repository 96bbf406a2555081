/* What `muster-agent status` says in each phase, as JSON and in words. */
#include "agent/core/status.h"
#include "common/base/cleanup.h"
#include "common/base/text.h"

#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define A64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B64 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define C64 "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"

/* 2.1.0 is wanted, 2.0.0 is committed, 1.0.0 was before. */
static struct update_row row_in(enum update_phase phase)
{
    return (struct update_row){.slot = "digits",
                               .phase = phase,
                               .want = {.bundle = A64, .version = "2.1.0", .probation_s = 30},
                               .committed = B64,
                               .previous = C64,
                               .counter = 7};
}

static struct status_slot slot_of(const struct update_row *row)
{
    return (struct status_slot){.row = row,
                                .kind = "model",
                                .running = row->committed,
                                .committed_version = "2.0.0",
                                .previous_version = "1.0.0",
                                .target_version = "2.1.0"};
}

static void says(const struct status_slot *slot, const char *expected)
{
    char text[STATUS_TEXT_SIZE];
    status_sentence(slot, text);
    assert_string_equal(text, expected);
}

static void simple_phases(void **state)
{
    (void)state;
    static const struct {
        enum update_phase phase;
        const char *text;
    } phases[] = {
        {UPDATE_IDLE, "up to date"},
        {UPDATE_DOWNLOADING, "about to download 2.1.0"},
        {UPDATE_VERIFYING, "verifying and unpacking 2.1.0"},
        {UPDATE_STAGING, "putting 2.1.0 beside 2.0.0"},
        {UPDATE_TESTING, "testing 2.1.0 beside 2.0.0"},
        {UPDATE_STAGED, "2.1.0 is ready"},
        {UPDATE_HELD, "2.1.0 is ready and held"},
        {UPDATE_SWITCHING, "switching from 2.0.0 to 2.1.0"},
        {UPDATE_WITHDRAWING, "going back from 2.1.0 to 2.0.0: something else is wanted now"},
    };
    for (size_t i = 0; i < sizeof phases / sizeof phases[0]; i++) {
        struct update_row row = row_in(phases[i].phase);
        struct status_slot slot = slot_of(&row);
        says(&slot, phases[i].text);
    }
    for (int phase = 0; phase < UPDATE_PHASES_; phase++) { /* none is forgotten */
        char text[STATUS_TEXT_SIZE] = "";
        struct update_row row = row_in((enum update_phase)phase);
        struct status_slot slot = slot_of(&row);
        status_sentence(&slot, text);
        assert_true(text[0] != '\0');
    }
    struct update_row empty = {.slot = "digits"};
    struct status_slot slot = {.row = &empty};
    says(&slot, "nothing is installed");
}

static void downloads(void **state)
{
    (void)state;
    struct update_row row = row_in(UPDATE_DOWNLOADING);
    struct status_slot slot = slot_of(&row);
    row.object = (struct desired_object){.sha256 = C64, .size = 4200000, .from = B64};
    row.downloaded = 3100000;
    (void)text_copy(slot.from_version, sizeof slot.from_version, "2.0.0");
    says(&slot, "downloading 2.1.0 as a delta from 2.0.0: 3.1 of 4.2 MB, 73 %");
    slot.from_version[0] = '\0';
    says(&slot, "downloading 2.1.0 as a delta from bundle bbbbbbbbbbbb: 3.1 of 4.2 MB, 73 %");
    row.object.from[0] = '\0';
    says(&slot, "downloading 2.1.0 in full: 3.1 of 4.2 MB, 73 %");
    row.object.size = 0;
    says(&slot, "downloading 2.1.0 in full: 3.1 of 0.0 MB, 0 %");
    row.phase = UPDATE_VERIFYING;
    row.object = (struct desired_object){.sha256 = C64, .from = B64};
    (void)text_copy(slot.from_version, sizeof slot.from_version, "2.0.0");
    says(&slot, "rebuilding 2.1.0 from 2.0.0 and verifying it");
    slot.target_version[0] = '\0';
    says(&slot, "rebuilding bundle aaaaaaaaaaaa from 2.0.0 and verifying it");
}

static void holds(void **state)
{
    (void)state;
    struct update_row row = row_in(UPDATE_HELD);
    struct status_slot slot = slot_of(&row);
    row.want.hold = (struct desired_hold){.on = true,
                                          .then_apply = true,
                                          .since_ms = 1764000000000,
                                          .expires_ms = 1764003600000,
                                          .reason = "lab demo",
                                          .owner = "user:admin"};
    says(&slot, "2.1.0 is ready and held by user:admin since 2025-11-24 16:00:00, to be applied at 2025-11-24 "
                "17:00:00: lab demo");
    row.want.hold.then_apply = false;
    says(&slot, "2.1.0 is ready and held by user:admin since 2025-11-24 16:00:00, to be given up at 2025-11-24 "
                "17:00:00: lab demo");
    row.want.hold = (struct desired_hold){.on = true, .reason = "x"};
    says(&slot, "2.1.0 is ready and held: x");
}

static void probations(void **state)
{
    (void)state;
    struct update_row row = row_in(UPDATE_PROBATION);
    struct status_slot slot = slot_of(&row);
    says(&slot, "2.1.0 is to be in probation for 30 s, and is being started");
    slot.ready = true;
    slot.elapsed_s = 12;
    slot.count = 480;
    says(&slot, "2.1.0 in probation: 12 of 30 s, 480 inferences, 0 errors");
    slot.elapsed_s = 31; /* its last counts are awaited */
    slot.kind = "app";
    says(&slot, "2.1.0 in probation: 30 of 30 s");
}

static void failures(void **state)
{
    (void)state;
    struct update_row row = row_in(UPDATE_FAILED);
    struct status_slot slot = slot_of(&row);
    row.stage = "test";
    row.device_left = "no_change";
    (void)text_copy(row.code, sizeof row.code, "selftest_failed");
    (void)text_copy(row.detail, sizeof row.detail, "sample 3 is wrong");
    says(&slot, "2.1.0 failed at the self-test: sample 3 is wrong (selftest_failed); 2.0.0 runs on");
    row.stage = "probation";
    row.device_left = "rolled_back";
    says(&slot, "2.1.0 failed in its probation: sample 3 is wrong (selftest_failed); 2.0.0 runs again");
    row.device_left = "unable_to_roll_back";
    says(&slot,
         "2.1.0 failed in its probation: sample 3 is wrong (selftest_failed); 2.0.0 should run again, and does not");
    row.committed[0] = '\0';
    row.device_left = "no_change";
    says(&slot, "2.1.0 failed in its probation: sample 3 is wrong (selftest_failed); nothing is installed");
    row = row_in(UPDATE_FAILED);
    (void)text_copy(row.code, sizeof row.code, "rolled_back_locally");
    (void)text_copy(row.detail, sizeof row.detail, "taken back at the device by root: 2.1.0 to 2.0.0");
    says(&slot,
         "taken back at the device by root: 2.1.0 to 2.0.0; 2.0.0 runs until the server asks for another version");
    row.phase = UPDATE_RESTORING;
    says(&slot, "going back to 2.0.0: taken back at the device by root: 2.1.0 to 2.0.0 (rolled_back_locally)");
}

static char *words_of(struct status *status, const struct status_slot *slot)
{
    char *text = NULL;
    status->slots = slot;
    status->slot_count = slot == NULL ? 0 : 1;
    json_auto_t *json = status_json(status);
    assert_non_null(json);
    assert_int_equal(status_words(json, 1764000100000, &text), ERR_OK);
    return text;
}

static void the_whole(void **state)
{
    (void)state;
    struct update_row row = row_in(UPDATE_IDLE);
    struct status_slot slot = slot_of(&row);
    struct status status = {.live = true,
                            .agent_version = "0.1.0",
                            .uptime_s = 7300,
                            .state_dir = "/var/lib/muster",
                            .name = "edge-1",
                            .device = "abc",
                            .server_url = "https://muster.example:8444",
                            .connected = true,
                            .contact_ms = 1764000098000,
                            .generation = 6,
                            .spool_items = 12,
                            .spool_bytes = 34000,
                            .spool_limit = 64000000,
                            .disk_total = 64000000000,
                            .disk_free = 50000000000};
    slot.since_ms = 1764000000000;
    cleanup_free char *text = words_of(&status, &slot);
    assert_string_equal(text, "device     edge-1, abc\n"
                              "agent      0.1.0, started 2 h ago, files in /var/lib/muster\n"
                              "server     https://muster.example:8444, connected, last word 2 s ago; desired state 6\n"
                              "spool      12 items wait for the server, 0.0 MB of at most 64 MB\n"
                              "disk       14.0 GB used, 50.0 GB free\n"
                              "\n"
                              "slot digits (model)\n"
                              "  now      up to date\n"
                              "  runs     2.0.0, bundle bbbbbbbbbbbb, since 2025-11-24 16:00:00\n"
                              "  previous 1.0.0, bundle cccccccccccc\n"
                              "  counter  7; bundles with a lower one are refused\n");
    slot.running = NULL;
    cleanup_free char *stopped = words_of(&status, &slot);
    assert_non_null(strstr(stopped, "since 2025-11-24 16:00:00, BUT IS NOT RUNNING NOW\n"));
    status.spool_limit = 1600000;
    cleanup_free char *small = words_of(&status, &slot);
    assert_non_null(strstr(small, "spool      12 items wait for the server, 0.0 MB of at most 1.6 MB\n"));
    status.live = false;
    status.spool_limit = -1; /* an agent that does not run: its limit is not in its files */
    cleanup_free char *no_limit = words_of(&status, &slot);
    assert_non_null(strstr(no_limit, "spool      12 items wait for the server, 0.0 MB\n"));
    status.spool_items = -1;
    status.disk_total = 0;
    cleanup_free char *files = words_of(&status, &slot);
    assert_non_null(strstr(files, "agent      does not run; this is what its files in /var/lib/muster say\n"));
    assert_non_null(strstr(files, "  current  2.0.0"));
    assert_null(strstr(files, "NOT RUNNING"));
    assert_null(strstr(files, "spool"));
    assert_null(strstr(files, "at most"));
    assert_null(strstr(files, "disk"));
    cleanup_free char *none = words_of(&status, NULL);
    assert_non_null(strstr(none, "The server has not asked for anything yet."));
}

/* Text from elsewhere cannot break the JSON, or the terminal. */
static void strange_text(void **state)
{
    (void)state;
    struct update_row row = row_in(UPDATE_FAILED);
    struct status_slot slot = slot_of(&row);
    struct status status = {.agent_version = "0.1.0", .spool_items = -1};
    (void)text_copy(row.detail, sizeof row.detail, "\x1b[31m \xff\xfe\n");
    cleanup_free char *text = words_of(&status, &slot);
    assert_null(strchr(text, '\x1b'));
    assert_null(strchr(text, '\xff'));
}

static int utc(void **state)
{
    (void)state;
    if (setenv("TZ", "UTC", 1) != 0)
        return 1;
    tzset();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(simple_phases), cmocka_unit_test(downloads), cmocka_unit_test(holds),
        cmocka_unit_test(probations),    cmocka_unit_test(failures),  cmocka_unit_test(the_whole),
        cmocka_unit_test(strange_text),
    };
    return cmocka_run_group_tests(tests, utc, NULL);
}
