/* From a message's bytes to rows: what is written, what is refused and answered, what cannot be read at all. */
#include "common/base/json.h"
#include "server/mqtt/delivery.h"

#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#define BUNDLE "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define DEVICE "abcdefghijklmnopqrstuvwxyz"
#define T "1764000000123"
#define T_TEXT "2025-11-24 16:00:00.123+00"
#define DATA(items) "{\"epoch\": \"e1\", \"seq\": \"17\", \"items\": [" items "]}"

static struct inbox_message *message(enum message_kind kind, const char *text)
{
    size_t len = strlen(text);
    struct inbox_message *m = calloc(1, sizeof *m + len);
    assert_non_null(m);
    m->kind = kind;
    m->len = len;
    memcpy(m->device, DEVICE, sizeof m->device);
    memcpy(m->payload, text, len);
    return m;
}

/* Reads the text as a data message; check() looks at what became of it. */
static void data_read(const char *text, void (*check)(const struct delivery *d))
{
    struct inbox_message *m = message(MESSAGE_DATA, text);
    struct delivery d;
    delivery_read(m, &d);
    check(&d);
    delivery_clear(&d);
    free(m);
}

static void check_health(const struct delivery *d)
{
    assert_int_equal(d->outcome, DELIVERY_READY);
    assert_string_equal(d->batch.epoch, "e1");
    assert_int_equal(d->batch.seq, 17);
    assert_int_equal(d->items, 2);
    assert_string_equal(d->health.data, DEVICE
                        "\t" T_TEXT "\t0.12\t0.5\t1\t2\t\\N\t\\N\t{\"cpu\",\"a\\\\\"b\\\\\\\\c\\t,{}\"}\t{61.5,NULL}"
                        "\t{85,NULL}\tt\t0.25\ttoo \\\\ hot\\n\n" DEVICE "\t1970-01-01 00:00:00.000+00\t\\N\t\\N\t\\N"
                        "\t\\N\t\\N\t\\N\t{}\t{}\t{}\tf\t0\t\\N\n");
    assert_int_equal(d->infer.len, 0);
    assert_int_equal(d->drift.len, 0);
}

static void health(void **state)
{
    (void)state;
    data_read(
        DATA("{\"kind\": \"health\", \"t\": " T ", \"cpu\": 0.12, \"load1\": 0.5, \"memory\": {\"used\": \"1\","
             " \"total\": \"2\"}, \"disk\": null, \"temps\": [{\"name\": \"cpu\", \"c\": 61.5, \"trip_c\": 85},"
             " {\"name\": \"a\\\"b\\\\c\\t,{}\", \"c\": null}], \"throttled\": true, \"throttled_fraction\": 0.25,"
             " \"throttle_reason\": \"too \\\\ hot\\n\"},"
             "{\"kind\": \"health\", \"t\": 0, \"temps\": [], \"throttled\": false, \"throttled_fraction\": 0}"),
        check_health);
}

static void check_infer(const struct delivery *d)
{
    assert_int_equal(d->outcome, DELIVERY_READY);
    assert_string_equal(d->infer.data, DEVICE "\t" T_TEXT "\t5000\tdigits\t" BUNDLE "\t100\t3\t1\t72\t{7,0,12}\n" DEVICE
                                              "\t" T_TEXT "\t5000\tdigits\t" BUNDLE "\t0\t0\t0\t0\t{}\n");
}

/* Zeros at either end of a histogram are not stored. */
static void infer(void **state)
{
    (void)state;
    data_read(
        DATA("{\"kind\": \"infer\", \"t\": " T ", \"window_ms\": 5000, \"slot\": \"digits\", \"bundle\": \"" BUNDLE
             "\", \"count\": \"100\", \"errors\": \"3\", \"queue_max\": 1, \"hist\": {\"first\": 71, \"counts\":"
             " [0, 7, 0, 12, 0]}},"
             "{\"kind\": \"infer\", \"t\": " T ", \"window_ms\": 5000, \"slot\": \"digits\", \"bundle\": \"" BUNDLE
             "\", \"count\": \"0\", \"errors\": \"0\", \"queue_max\": 0, \"hist\": {\"first\": 0, \"counts\":"
             " []}}"),
        check_infer);
}

static void check_drift(const struct delivery *d)
{
    assert_int_equal(d->outcome, DELIVERY_READY);
    assert_string_equal(d->drift.data,
                        DEVICE "\t" T_TEXT "\t5000\tdigits\t" BUNDLE
                               "\t{\"mean\",\"std\"}\t{1,2,3,4,5,6,7,8,9,10,11,12,13,0,0,0,0,0,0,0,0,0,0,0,0,9}\n");
}

static void drift(void **state)
{
    (void)state;
    data_read(DATA("{\"kind\": \"drift\", \"t\": " T
                   ", \"window_ms\": 5000, \"slot\": \"digits\", \"bundle\": \"" BUNDLE
                   "\", \"features\": [{\"name\": \"mean\", \"counts\": [1,2,3,4,5,6,7,8,9,10,11,12,13]},"
                   " {\"name\": \"std\", \"counts\": [0,0,0,0,0,0,0,0,0,0,0,0,9]}]}"),
              check_drift);
}

static void check_stories(const struct delivery *d)
{
    assert_int_equal(d->outcome, DELIVERY_READY);
    assert_int_equal(d->items, 4);
    assert_int_equal(d->event_count, 2);
    assert_string_equal(d->events[0].kind, "device.update");
    assert_string_equal(d->events[0].actor, "device:" DEVICE);
    assert_string_equal(d->events[0].device_id, DEVICE);
    assert_int_equal(d->events[0].t_ms, 1764000000123);
    assert_string_equal(json_text_or_null(d->events[0].data, "step"), "failed");
    assert_string_equal(json_text_or_null(d->events[0].data, "code"), "disk_full");
    assert_true(json_is_null(json_object_get(d->events[0].data, "detail")));
    assert_string_equal(d->events[1].kind, "device.event");
    assert_string_equal(json_text_or_null(d->events[1].data, "name"), "infer_exited");
    assert_string_equal(json_text_or_null(d->inventory, "hostname"), "edge-1");
}

static void stories(void **state)
{
    (void)state;
    data_read(DATA("{\"kind\": \"report\", \"t\": " T ", \"slot\": \"digits\", \"bundle\": \"" BUNDLE
                   "\", \"step\": \"failed\", \"code\": \"disk_full\"},"
                   "{\"kind\": \"event\", \"t\": " T ", \"name\": \"infer_exited\"},"
                   "{\"kind\": \"inventory\", \"t\": " T ", \"hostname\": \"edge-1\", \"agent_version\": \"0.1.0\"},"
                   "{\"kind\": \"from_the_future\", \"what\": 1}"),
              check_stories);
}

static void check_refused(const struct delivery *d)
{
    assert_int_equal(d->outcome, DELIVERY_REFUSED);
    assert_int_equal(d->batch.seq, 17);
    assert_non_null(strstr(d->reason, "items[1]: "));
}

/* One bad item refuses its batch, and the answer can name it. */
static void refused(void **state)
{
    (void)state;
#define GOOD "{\"kind\": \"event\", \"t\": 1, \"name\": \"x\"}, "
#define INFER(bundle, count, hist)                                                                                     \
    "{\"kind\": \"infer\", \"t\": 1, \"window_ms\": 1, \"slot\": \"d\", \"bundle\": \"" bundle "\", \"count\": " count \
    ", \"errors\": \"0\", \"queue_max\": 0, \"hist\": " hist "}"
    static const char *const bad[] = {
        DATA(GOOD "5"),
        DATA(GOOD "{}"),
        DATA(GOOD "{\"kind\": \"health\"}"),
        DATA(GOOD "{\"kind\": \"event\", \"t\": -1, \"name\": \"x\"}"),
        DATA(GOOD "{\"kind\": \"event\", \"t\": 253402300800000, \"name\": \"x\"}"),
        DATA(GOOD "{\"kind\": \"event\", \"t\": 1.5, \"name\": \"x\"}"),
        DATA(GOOD "{\"kind\": \"health\", \"t\": 1, \"cpu\": 1.5, \"temps\": [], \"throttled\": false,"
                  " \"throttled_fraction\": 0}"),
        DATA(GOOD "{\"kind\": \"health\", \"t\": 1, \"memory\": {\"used\": 1, \"total\": 2}, \"temps\": [],"
                  " \"throttled\": false, \"throttled_fraction\": 0}"),
        DATA(GOOD "{\"kind\": \"report\", \"t\": 1, \"slot\": \"d\", \"bundle\": \"" BUNDLE
                  "\", \"step\": \"danced\"}"),
        DATA(GOOD INFER("1.0.0", "\"1\"", "{\"first\": 0, \"counts\": []}")),
        DATA(GOOD INFER(BUNDLE, "1", "{\"first\": 0, \"counts\": []}")),
        DATA(GOOD INFER(BUNDLE, "\"-1\"", "{\"first\": 0, \"counts\": []}")),
        DATA(GOOD INFER(BUNDLE, "\"1\"", "{\"first\": 160, \"counts\": []}")),
        DATA(GOOD INFER(BUNDLE, "\"1\"", "{\"first\": 159, \"counts\": [1, 1]}")),
        DATA(GOOD INFER(BUNDLE, "\"1\"", "{\"first\": 0, \"counts\": [-1]}")),
        DATA(GOOD INFER(BUNDLE, "\"1\"", "{\"first\": 0, \"counts\": [2147483648]}")),
        DATA(GOOD "{\"kind\": \"drift\", \"t\": 1, \"window_ms\": 1, \"slot\": \"d\", \"bundle\": \"" BUNDLE
                  "\", \"features\": [{\"name\": \"mean\", \"counts\": [1, 2]}]}"),
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        data_read(bad[i], check_refused);
}

static void check_refused_whole(const struct delivery *d)
{
    assert_int_equal(d->outcome, DELIVERY_REFUSED);
    assert_string_equal(d->batch.epoch, "e1");
}

static void check_unreadable(const struct delivery *d)
{
    assert_int_equal(d->outcome, DELIVERY_UNREADABLE);
    assert_true(d->reason[0] != '\0');
}

/* Without epoch and seq there is nothing to answer with. */
static void unreadable(void **state)
{
    (void)state;
    data_read("{\"epoch\": \"e1\", \"seq\": \"17\"}", check_refused_whole);
    data_read("{\"epoch\": \"e1\", \"seq\": \"17\", \"items\": {}}", check_refused_whole);
    static const char *const bad[] = {"",
                                      "{",
                                      "[]",
                                      "null",
                                      "\xff\xfe",
                                      "{\"seq\": \"1\", \"items\": []}",
                                      "{\"epoch\": \"e1\", \"seq\": \"x\", \"items\": []}",
                                      "{\"epoch\": \"e1\", \"epoch\": \"e1\", \"seq\": \"1\", \"items\": []}",
                                      "{\"epoch\": \"e\\u0000\", \"seq\": \"1\", \"items\": []}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        data_read(bad[i], check_unreadable);
}

static void only_data_is_answered(void **state)
{
    (void)state;
    struct inbox_message *m = message(MESSAGE_BEAT, DATA(""));
    struct delivery d;
    delivery_read(m, &d);
    assert_int_equal(d.outcome, DELIVERY_UNREADABLE);
    delivery_clear(&d);
    free(m);
}

int main(void)
{
    json_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(health),
        cmocka_unit_test(infer),
        cmocka_unit_test(drift),
        cmocka_unit_test(stories),
        cmocka_unit_test(refused),
        cmocka_unit_test(unreadable),
        cmocka_unit_test(only_data_is_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
