/* The agent's other pure parts: retries, the desired document, what a full spool drops, and the messages it sends. */
#include "agent/core/clean.h"
#include "agent/core/desired.h"
#include "agent/core/retry.h"
#include "agent/core/spool_policy.h"
#include "agent/core/up.h"
#include "common/base/cleanup.h"
#include "common/base/json.h"
#include "common/base/version.h"

#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#define A64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B64 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

/* ---------------------------------------------------------------- retries */

static void delays_double_up_to_the_limit(void **state)
{
    (void)state;
    static const int64_t expected[] = {1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000};
    struct retry retry = RETRY_INIT(1000, 60000, 0.2);
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
        assert_int_equal(retry_next_ms(&retry, 0.5), expected[i]);
    retry_reset(&retry);
    assert_int_equal(retry_next_ms(&retry, 0.5), 1000);
}

static void jitter_stays_in_its_range(void **state)
{
    (void)state;
    struct retry low = RETRY_INIT(1000, 60000, 0.2);
    struct retry high = low;
    assert_int_equal(retry_next_ms(&low, 0.0), 800);
    int64_t most = retry_next_ms(&high, 0.999999);
    assert_true(most >= 1199 && most <= 1200);
    assert_int_equal(retry_jitter_ms(30000, 0.1, 0.0), 27000);
    low.tries = 4000000000U; /* years of failures */
    assert_int_equal(retry_next_ms(&low, 0.5), 60000);
}

/* ---------------------------------------------------------------- the desired document */

static enum err parse(const char *text, struct desired *desired)
{
    struct err_info info = {0};
    enum err e = desired_parse(text, strlen(text), desired, &info);
    assert_true(e == ERR_OK || info.text[0] != '\0');
    return e;
}

#define SLOT(hold)                                                                                                     \
    "{\"bundle\":\"" A64 "\",\"version\":\"2.0.0\",\"probation_s\":5,\"objects\":[{\"encoding\":\"quantum\"},"         \
    "{\"sha256\":\"" B64 "\",\"size\":\"5182976\",\"encoding\":\"full\"}],\"hold\":" hold "}"
#define DOCUMENT(slots)                                                                                                \
    "{\"generation\":\"6\",\"beat_s\":2.5,\"slots\":{" slots "},\"critical\":[],\"new_in_2030\":{\"x\":1}}"

static void document_is_read(void **state)
{
    (void)state;
    struct desired d = {0};
    assert_int_equal(
        parse(
            DOCUMENT("\"digits\":" SLOT(
                "{\"reason\":\"lab demo\",\"owner\":\"user:admin\",\"since\":1,\"expires\":2000,\"then\":\"apply\"}")),
            &d),
        ERR_OK);
    assert_int_equal(d.generation, 6);
    assert_int_equal(d.beat_ms, 2500);
    assert_int_equal(d.slot_count, 1);
    assert_string_equal(d.slots[0].name, "digits");
    assert_string_equal(d.slots[0].bundle, A64);
    assert_int_equal(d.slots[0].object_count, 1); /* the other one is for newer agents */
    assert_string_equal(d.slots[0].objects[0].sha256, B64);
    assert_string_equal(d.slots[0].objects[0].from, "");
    assert_int_equal(d.slots[0].objects[0].size, 5182976);
    assert_int_equal(d.slots[0].probation_s, 5);
    assert_string_equal(d.slots[0].hold.reason, "lab demo");
    assert_string_equal(d.slots[0].hold.owner, "user:admin");
    assert_int_equal(d.slots[0].hold.since_ms, 1);
    assert_string_equal(d.unknown, "");
}

/* A document with n deltas and, at the place `full`, the full object. */
static void objects_document(int n, int full, char out[8192])
{
    int len = snprintf(out, 8192,
                       "{\"generation\":\"6\",\"beat_s\":2,\"slots\":{\"digits\":{\"bundle\":\"" A64
                       "\",\"version\":\"1.0.0\",\"probation_s\":5,\"objects\":[");
    for (int i = 0; i <= n; i++)
        len += i == full
                   ? snprintf(out + len, 8192 - (size_t)len,
                              "%s{\"encoding\":\"full\",\"sha256\":\"" B64 "\",\"size\":\"1000\"}", i == 0 ? "" : ",")
                   : snprintf(out + len, 8192 - (size_t)len,
                              "%s{\"encoding\":\"delta\",\"sha256\":\"%064x\",\"size\":\"%d\",\"from\":\"" A64 "\"}",
                              i == 0 ? "" : ",", i, i + 1);
    (void)snprintf(out + len, 8192 - (size_t)len, "]}}}");
}

static void ways_to_get_a_bundle(void **state)
{
    (void)state;
    char text[8192];
    struct desired d = {0};
    objects_document(2, 2, text);
    assert_int_equal(parse(text, &d), ERR_OK);
    assert_int_equal(d.slots[0].object_count, 3);
    assert_string_equal(d.slots[0].objects[0].from, A64);
    assert_int_equal(d.slots[0].objects[1].size, 2);
    assert_string_equal(d.slots[0].objects[2].from, "");
    assert_false(d.slots[0].objects[0].failed);
    d = (struct desired){0};
    objects_document(20, 20, text); /* more than there is room for: the full one is kept */
    assert_int_equal(parse(text, &d), ERR_OK);
    assert_int_equal(d.slots[0].object_count, DESIRED_OBJECTS_MAX);
    assert_string_equal(d.slots[0].objects[DESIRED_OBJECTS_MAX - 1].sha256, B64);
    assert_int_equal(d.slots[0].objects[DESIRED_OBJECTS_MAX - 2].size, DESIRED_OBJECTS_MAX - 1);
    d = (struct desired){0};
    objects_document(20, 1, text);
    assert_int_equal(parse(text, &d), ERR_OK);
    assert_string_equal(d.slots[0].objects[1].sha256, B64);
    assert_int_equal(d.slots[0].objects[DESIRED_OBJECTS_MAX - 1].size, DESIRED_OBJECTS_MAX);
}

static void holds_end_when_they_should(void **state)
{
    (void)state;
    struct desired_hold hold = {.on = true, .then_apply = true, .expires_ms = 2000};
    assert_true(desired_hold_active(&hold, 1999));
    assert_false(desired_hold_active(&hold, 2000));
    hold.then_apply = false; /* cancel: it waits for another document */
    assert_true(desired_hold_active(&hold, 2000));
    hold = (struct desired_hold){.on = true, .then_apply = true};
    assert_true(desired_hold_active(&hold, INT64_MAX));
    hold.on = false;
    assert_false(desired_hold_active(&hold, 0));
}

static void bad_documents_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"generation\":6,\"beat_s\":2,\"slots\":{}}",
        "{\"generation\":\"-1\",\"beat_s\":2,\"slots\":{}}",
        "{\"generation\":\"6\",\"beat_s\":0,\"slots\":{}}",
        "{\"generation\":\"6\",\"beat_s\":2}",
        "{\"generation\":\"6\",\"beat_s\":2,\"slots\":{\"../etc\":" SLOT("null") "}}",
        "{\"generation\":\"6\",\"beat_s\":2,\"slots\":{\"digits\":7}}",
        "{\"generation\":\"6\",\"beat_s\":2,\"slots\":{\"digits\":{\"bundle\":\"x\"}}}",
        "{\"generation\":\"6\",\"beat_s\":2,\"slots\":{\"digits\":" SLOT("7") "}}",
        "{\"generation\":\"6\",\"beat_s\":2,\"slots\":{\"digits\":{\"bundle\":\"" A64
        "\",\"version\":\"1.0.0\",\"probation_s\":5,\"objects\":[{\"encoding\":\"full\",\"sha256\":\"../x\"}]}}}",
        "{\"generation\":\"6\",\"beat_s\":2,\"slots\":{\"digits\":{\"bundle\":\"" A64
        "\",\"version\":\"1.0.0\",\"probation_s\":5,\"objects\":[{\"encoding\":\"delta\",\"sha256\":\"" A64
        "\",\"size\":\"7\",\"from\":\"me\"}]}}}",
        "{\"generation\":\"6\",\"beat_s\":2,\"slots\":{},\"critical\":[7]}",
    };
    struct desired d = {.generation = 77};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(parse(bad[i], &d), ERR_INVALID);
    assert_int_equal(d.generation, 77); /* untouched */
}

static void critical_names(void **state)
{
    (void)state;
    struct desired d = {0};
    assert_int_equal(parse("{\"generation\":\"6\",\"beat_s\":2,\"slots\":{},\"critical\":[\"hold\",\"window\"]}", &d),
                     ERR_OK);
    assert_string_equal(d.unknown, "window");
}

/* ---------------------------------------------------------------- a full spool */

static void telemetry_goes_first(void **state)
{
    (void)state;
    int64_t drop[SPOOL_RANKS_];
    int64_t bytes[SPOOL_RANKS_] = {10, 20, 5, 900};
    spool_plan_drop(bytes, 1000, drop);
    for (int i = 0; i < SPOOL_RANKS_; i++)
        assert_int_equal(drop[i], 0);
    bytes[SPOOL_TELEMETRY] = 1000;
    spool_plan_drop(bytes, 1000, drop);
    assert_int_equal(drop[SPOOL_TELEMETRY], 85); /* down to 95 % */
    assert_int_equal(drop[SPOOL_REPORT] + drop[SPOOL_EVENT] + drop[SPOOL_INVENTORY], 0);
    bytes[SPOOL_TELEMETRY] = 30;
    bytes[SPOOL_EVENT] = 2000;
    spool_plan_drop(bytes, 1000, drop);
    assert_int_equal(drop[SPOOL_TELEMETRY], 30);
    assert_int_equal(drop[SPOOL_INVENTORY], 5);
    assert_int_equal(drop[SPOOL_EVENT], 2045 - 950 - 35);
    assert_int_equal(drop[SPOOL_REPORT], 0);
}

/* ---------------------------------------------------------------- messages */

static json_t *parsed(const char *text)
{
    json_t *json = NULL;
    assert_int_equal(json_parse(text, strlen(text), JSON_BYTES_MAX, &json, NULL), ERR_OK);
    return json;
}

static void hello_and_gone(void **state)
{
    (void)state;
    cleanup_free char *text = NULL;
    cleanup_free char *gone = NULL;
    struct up_hello hello = {
        .session = 12, .boot_id = "5f0c", .generation = 6, .epoch = "9f3a6c1e5b7d2048", .first = 17, .last = 18};
    assert_int_equal(up_hello(&hello, &text), ERR_OK);
    assert_string_equal(text, "{\"session\":\"12\",\"boot_id\":\"5f0c\",\"agent_version\":\"" MUSTER_VERSION
                              "\",\"generation\":\"6\",\"spool\":{\"epoch\":\"9f3a6c1e5b7d2048\",\"first\":\"17\","
                              "\"last\":\"18\"}}");
    assert_int_equal(up_gone(12, &gone), ERR_OK);
    assert_string_equal(gone, "{\"session\":\"12\"}");
}

static void beat_tells_all(void **state)
{
    (void)state;
    cleanup_free char *text = NULL;
    struct update_row row = {.slot = "digits",
                             .phase = UPDATE_FAILED,
                             .want = {.bundle = A64},
                             .downloaded = 50,
                             .stage = "download",
                             .code = "disk_full",
                             .detail = "no space",
                             .device_left = "no_change",
                             .committed = B64};
    struct update_row empty = {.slot = "faces"};
    struct up_slot slots[] = {{.row = &row, .running = B64, .size = 200}, {.row = &empty}};
    struct up_beat beat = {
        .session = 1, .t = 5, .uptime_s = 9, .generation = 3, .throttled = true, .slots = slots, .slot_count = 2};
    assert_int_equal(up_beat(&beat, &text), ERR_OK);
    json_auto_t *json = parsed(text);
    const json_t *digits = json_object_get(json_object_get(json, "slots"), "digits");
    const json_t *faces = json_object_get(json_object_get(json, "slots"), "faces");
    assert_true(json_is_null(json_object_get(json, "margin_c")));
    assert_string_equal(json_text_or_null(digits, "phase"), "failed");
    assert_string_equal(json_text_or_null(digits, "target"), A64);
    assert_string_equal(json_text_or_null(digits, "running"), B64);
    assert_string_equal(json_text_or_null(digits, "stage"), "download");
    assert_string_equal(json_text_or_null(digits, "device_left"), "no_change");
    assert_string_equal(json_text_or_null(digits, "downloaded"), "50");
    assert_int_equal(json_integer_value(json_object_get(digits, "progress")), 25);
    assert_string_equal(json_text_or_null(faces, "phase"), "empty");
    assert_true(json_is_null(json_object_get(faces, "target")));
    assert_true(json_is_null(json_object_get(faces, "running")));
    assert_int_equal(json_integer_value(json_object_get(faces, "progress")), 0);
}

static void details_may_be_anything(void **state)
{
    (void)state;
    cleanup_free char *report = NULL;
    cleanup_free char *event = NULL;
    assert_int_equal(up_report(7, "digits", A64, "failed", "io_error", "bad \xff\xfe bytes\n", &report), ERR_OK);
    json_auto_t *json = parsed(report);
    assert_string_equal(json_text_or_null(json, "detail"), "bad ?? bytes?");
    assert_string_equal(json_text_or_null(json, "step"), "failed");
    assert_int_equal(up_event(7, "infer_exited", NULL, "Überhitzt", &event), ERR_OK);
    json_auto_t *other = parsed(event);
    assert_string_equal(json_text_or_null(other, "detail"), "Überhitzt");
    assert_true(json_is_null(json_object_get(other, "slot")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delays_double_up_to_the_limit),
        cmocka_unit_test(jitter_stays_in_its_range),
        cmocka_unit_test(document_is_read),
        cmocka_unit_test(ways_to_get_a_bundle),
        cmocka_unit_test(holds_end_when_they_should),
        cmocka_unit_test(bad_documents_are_refused),
        cmocka_unit_test(critical_names),
        cmocka_unit_test(telemetry_goes_first),
        cmocka_unit_test(hello_and_gone),
        cmocka_unit_test(beat_tells_all),
        cmocka_unit_test(details_may_be_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
