/* Hellos, beats and wills: what is taken, what is refused, and what several of them say together. */
#include "common/base/json.h"
#include "server/core/message.h"
#include "server/core/presence.h"
#include "server/mqtt/topic.h"

#include "tests/unit/unit.h"

#include <math.h>
#include <string.h>

#define BUNDLE "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define DEVICE "abcdefghijklmnopqrstuvwxyz"
#define SLOT                                                                                                           \
    "{\"phase\": \"failed\", \"target\": \"" BUNDLE "\", \"running\": null, \"progress\": 40, \"downloaded\": \"7\","  \
    " \"stage\": \"download\", \"code\": \"disk_full\", \"detail\": \"no room\", \"device_left\": \"no_change\"}"
#define BEAT(margin, slots)                                                                                            \
    "{\"session\": \"12\", \"t\": 1, \"uptime_s\": 86400, \"generation\": \"6\", \"margin_c\": " margin                \
    ", \"throttled\": true, \"slots\": " slots ", \"future\": [1]}"

static json_t *parse(const char *text)
{
    json_t *json = NULL;
    assert_int_equal(json_parse(text, strlen(text), JSON_BYTES_MAX, &json, NULL), ERR_OK);
    return json;
}

static void topics(void **state)
{
    (void)state;
    static const struct {
        const char *leaf;
        enum message_kind kind;
    } good[] = {{"hello", MESSAGE_HELLO}, {"beat", MESSAGE_BEAT}, {"data", MESSAGE_DATA}, {"gone", MESSAGE_GONE}};
    char device[DEVICE_ID_SIZE];
    enum message_kind kind = MESSAGE_HELLO;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        char topic[TOPIC_SIZE];
        (void)snprintf(topic, sizeof topic, "muster/v1/" DEVICE "/up/%s", good[i].leaf);
        assert_int_equal(topic_parse(topic, device, &kind), ERR_OK);
        assert_int_equal(kind, good[i].kind);
        assert_string_equal(device, DEVICE);
    }
    static const char *const bad[] = {"",
                                      "muster/v1/",
                                      "muster/v1/" DEVICE,
                                      "muster/v1/" DEVICE "/down/ack",
                                      "muster/v1/" DEVICE "/up/",
                                      "muster/v1/" DEVICE "/up/data/x",
                                      "muster/v1/abc/up/data",
                                      "muster/v1/" DEVICE "x/up/data",
                                      "muster/v1/ABCDEFGHIJKLMNOPQRSTUVWXYZ/up/data",
                                      "muster/v2/" DEVICE "/up/data"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(topic_parse(bad[i], device, &kind), ERR_INVALID);
    char topic[TOPIC_SIZE];
    topic_down(DEVICE, "ack", topic);
    assert_string_equal(topic, "muster/v1/" DEVICE "/down/ack");
    topic_subscription("0123456789012345678901234567890123456789", topic);
    assert_string_equal(topic, "$share/0123456789012345678901234567890123456789/muster/v1/+/up/#");
}

static void hello(void **state)
{
    (void)state;
    json_auto_t *json = parse("{\"session\": \"12\", \"boot_id\": \"b\", \"agent_version\": \"0.1.0\", \"generation\":"
                              " \"0\", \"spool\": {}}");
    struct hello h;
    assert_int_equal(hello_parse(json, &h, NULL), ERR_OK);
    assert_int_equal(h.session, 12);
    assert_string_equal(h.boot_id, "b");
    assert_string_equal(h.agent_version, "0.1.0");
    assert_int_equal(h.generation, 0);
    static const char *const keys[] = {"session", "boot_id", "agent_version", "generation"};
    for (size_t i = 0; i < 4; i++) {
        json_auto_t *without = json_copy(json);
        assert_int_equal(json_object_del(without, keys[i]), 0);
        struct err_info info = {0};
        assert_int_equal(hello_parse(without, &h, &info), ERR_INVALID);
        assert_string_equal(info.field, keys[i]);
    }
}

static void beat(void **state)
{
    (void)state;
    json_auto_t *json = parse(BEAT("-3.5", "{\"digits\": " SLOT "}"));
    struct beat b;
    assert_int_equal(beat_parse(json, &b, NULL), ERR_OK);
    assert_int_equal(b.session, 12);
    assert_int_equal(b.uptime_s, 86400);
    assert_int_equal(b.generation, 6);
    assert_true(b.margin_c == -3.5);
    assert_true(b.throttled);
    assert_int_equal(b.slot_count, 1);
    assert_string_equal(b.slots[0].name, "digits");
    assert_string_equal(b.slots[0].phase, "failed");
    assert_string_equal(b.slots[0].target, BUNDLE);
    assert_null(b.slots[0].running);
    assert_null(b.slots[0].previous);
    assert_int_equal(b.slots[0].progress, 40);
    assert_int_equal(b.slots[0].downloaded, 7);
    assert_string_equal(b.slots[0].stage, "download");
    assert_string_equal(b.slots[0].code, "disk_full");
    assert_string_equal(b.slots[0].detail, "no room");
    assert_string_equal(b.slots[0].device_left, "no_change");
    json_auto_t *no_sensor = parse(BEAT("null", "{}"));
    assert_int_equal(beat_parse(no_sensor, &b, NULL), ERR_OK);
    assert_true(isnan(b.margin_c));
    assert_int_equal(b.slot_count, 0);
}

static void beats_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *field;
    } bad[] = {
        {BEAT("\"hot\"", "{}"), "margin_c"},
        {BEAT("1e9", "{}"), "margin_c"},
        {BEAT("1", "[]"), "slots"},
        {BEAT("1", "{\"digits\": 1}"), "slots"},
        {BEAT("1", "{\"\": " SLOT "}"), "slots"},
        {BEAT("1", "{\"d\": {\"phase\": \"dancing\", \"progress\": 0, \"downloaded\": \"0\"}}"), "phase"},
        {BEAT("1", "{\"d\": {\"phase\": \"empty\", \"progress\": 101, \"downloaded\": \"0\"}}"), "progress"},
        {BEAT("1", "{\"d\": {\"phase\": \"empty\", \"progress\": 0, \"downloaded\": 0}}"), "downloaded"},
        {BEAT("1", "{\"d\": {\"phase\": \"empty\", \"progress\": 0, \"downloaded\": \"0\", \"target\": \"1.0\"}}"),
         "target"},
        {BEAT("1", "{\"d\": {\"phase\": \"failed\", \"progress\": 0, \"downloaded\": \"0\", \"device_left\": \"?\"}}"),
         "device_left"},
        {"[]", ""},
        {"{\"session\": 12}", "session"},
        {"{\"session\": \"0\"}", "session"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        json_auto_t *json = parse(bad[i].text);
        struct beat b;
        struct err_info info = {0};
        assert_int_equal(beat_parse(json, &b, &info), ERR_INVALID);
        assert_string_equal(info.field, bad[i].field);
    }
}

static void too_many_slots(void **state)
{
    (void)state;
    json_auto_t *json = parse(BEAT("1", "{}"));
    json_t *slots = json_object_get(json, "slots");
    for (int i = 0; i <= BEAT_SLOTS_MAX; i++) {
        char name[24];
        (void)snprintf(name, sizeof name, "slot-%d", i);
        struct beat b;
        assert_int_equal(beat_parse(json, &b, NULL), ERR_OK);
        assert_int_equal(b.slot_count, i);
        assert_int_equal(json_object_set_new(slots, name, parse(SLOT)), 0);
    }
    struct beat b;
    assert_int_equal(beat_parse(json, &b, NULL), ERR_INVALID);
}

static void batch(void **state)
{
    (void)state;
    struct batch b;
    json_auto_t *json = parse("{\"epoch\": \"9f3a6c1e5b7d2048\", \"seq\": \"9223372036854775807\", \"items\": []}");
    assert_int_equal(batch_parse(json, &b, NULL), ERR_OK);
    assert_string_equal(b.epoch, "9f3a6c1e5b7d2048");
    assert_int_equal(b.seq, INT64_MAX);
    static const char *const bad[] = {"{\"epoch\": \"\", \"seq\": \"1\"}",
                                      "{\"epoch\": \"a b\", \"seq\": \"1\"}",
                                      "{\"epoch\": 5, \"seq\": \"1\"}",
                                      "{\"epoch\": \"e\", \"seq\": \"0\"}",
                                      "{\"epoch\": \"e\", \"seq\": \"-1\"}",
                                      "{\"epoch\": \"e\", \"seq\": 1}",
                                      "{\"epoch\": \"e\"}",
                                      "[\"epoch\", \"seq\"]"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        json_auto_t *wrong = parse(bad[i]);
        assert_int_equal(batch_parse(wrong, &b, NULL), ERR_INVALID);
    }
}

/* ---------------------------------------------------------------- presence */

static void presence_of_one_session(void **state)
{
    (void)state;
    const struct hello h = {.session = 3};
    const struct beat first = {.session = 3};
    const struct beat second = {.session = 3};
    const struct gone g = {.session = 3};
    struct presence p = PRESENCE_NONE;
    presence_hello(&p, &h, 900);
    presence_beat(&p, &first, 800);
    presence_beat(&p, &second, 500);
    assert_int_equal(p.session, 3);
    assert_ptr_equal(p.hello, &h);
    assert_ptr_equal(p.beat, &second);
    assert_int_equal(p.seen_age_ms, 500);
    assert_int_equal(p.gone_age_ms, -1);
    presence_gone(&p, &g, 100);
    assert_int_equal(p.gone_age_ms, 100);
    assert_int_equal(p.seen_age_ms, 500);
    presence_beat(&p, &first, 0); /* it is back */
    assert_int_equal(p.gone_age_ms, -1);
}

static void presence_of_sessions(void **state)
{
    (void)state;
    const struct beat old = {.session = 3};
    const struct gone old_gone = {.session = 3};
    const struct hello h = {.session = 4};
    struct presence p = PRESENCE_NONE;
    presence_beat(&p, &old, 300);
    presence_gone(&p, &old_gone, 200);
    presence_hello(&p, &h, 100); /* a fast reconnect */
    assert_int_equal(p.session, 4);
    assert_null(p.beat);
    assert_int_equal(p.gone_age_ms, -1);
    presence_gone(&p, &old_gone, 50); /* the late will of the session before */
    presence_beat(&p, &old, 40);
    assert_int_equal(p.session, 4);
    assert_int_equal(p.gone_age_ms, -1);
    assert_int_equal(p.seen_age_ms, 100);
    assert_null(p.beat);
}

static void presence_gone_alone(void **state)
{
    (void)state;
    const struct gone g = {.session = 7};
    struct presence p = PRESENCE_NONE;
    presence_gone(&p, &g, 5);
    assert_int_equal(p.session, 7);
    assert_int_equal(p.seen_age_ms, -1);
    assert_int_equal(p.gone_age_ms, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topics),
        cmocka_unit_test(hello),
        cmocka_unit_test(beat),
        cmocka_unit_test(beats_refused),
        cmocka_unit_test(too_many_slots),
        cmocka_unit_test(batch),
        cmocka_unit_test(presence_of_one_session),
        cmocka_unit_test(presence_of_sessions),
        cmocka_unit_test(presence_gone_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
