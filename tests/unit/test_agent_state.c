/* The agent's state file: journal rows come back as they were, the spool loses nothing it has not said, a damaged file
 * does not stop the agent. */
#include "agent/state/journal.h"
#include "agent/state/spool.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/text.h"

#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct place {
    char dir[64];
    char path[96];
    struct state *state;
    struct spool *spool;
};

static void place_open(struct place *p, int64_t limit)
{
    bool fresh = false;
    struct err_info info = {0};
    assert_int_equal(state_open(p->path, &p->state, &fresh, &info), ERR_OK);
    assert_int_equal(spool_open(p->state, limit, &p->spool), ERR_OK);
}

static void place_close(struct place *p)
{
    spool_close(p->spool);
    state_close(p->state);
    p->spool = NULL;
    p->state = NULL;
}

static void place_start(struct place *p, int64_t limit)
{
    *p = (struct place){.dir = "/tmp/muster-test-XXXXXX"};
    assert_non_null(mkdtemp(p->dir));
    (void)snprintf(p->path, sizeof p->path, "%s/state.db", p->dir);
    place_open(p, limit);
}

static void place_end(struct place *p)
{
    place_close(p);
    assert_int_equal(file_remove_tree(p->dir), ERR_OK);
}
#define cleanup_place [[gnu::cleanup(place_end)]]

enum { ROOM = 1 << 20 };

#define B64 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define O64 "0000000000000000000000000000000000000000000000000000000000000000"
#define P64 "1111111111111111111111111111111111111111111111111111111111111111"

/* ---------------------------------------------------------------- values and journal */

static void values(void **state)
{
    (void)state;
    cleanup_place struct place p;
    place_start(&p, ROOM);
    int64_t number = 0;
    cleanup_free char *text = NULL;
    assert_int_equal(state_number_get(p.state, "session", &number), ERR_NOT_FOUND);
    assert_int_equal(state_number_put(p.state, "session", 7), ERR_OK);
    assert_int_equal(state_number_put(p.state, "session", 8), ERR_OK);
    assert_int_equal(state_begin(p.state), ERR_OK);
    assert_int_equal(state_number_put(p.state, "session", 99), ERR_OK);
    state_rollback(p.state);
    place_close(&p);
    place_open(&p, ROOM);
    assert_int_equal(state_number_get(p.state, "session", &number), ERR_OK);
    assert_int_equal(number, 8);
    assert_int_equal(state_text_put(p.state, "desired", "{\"a\":\"'; DROP TABLE item; --\"}"), ERR_OK);
    assert_int_equal(state_text_get(p.state, "desired", &text), ERR_OK);
    assert_string_equal(text, "{\"a\":\"'; DROP TABLE item; --\"}");
}

static void journal_round_trip(void **state)
{
    (void)state;
    cleanup_place struct place p;
    place_start(&p, ROOM);
    struct update_row row = {.slot = "digits",
                             .phase = UPDATE_RESTORING,
                             .want = {.name = "digits",
                                      .bundle = "t",
                                      .version = "2.0.0",
                                      .probation_s = 5,
                                      .asked = 5,
                                      .object_count = 2,
                                      .objects = {{.sha256 = O64, .size = 77, .from = B64, .failed = true},
                                                  {.sha256 = P64, .size = 123456789012}},
                                      .hold = {.on = true,
                                               .then_apply = true,
                                               .expires_ms = 99,
                                               .since_ms = 98,
                                               .reason = "lab",
                                               .owner = "user:admin"}},
                             .object = {.sha256 = P64, .size = 123456789012},
                             .generation = 6,
                             .target_counter = 4,
                             .downloaded = 77,
                             .tries = 2,
                             .boots = 1,
                             .committed = "c",
                             .previous = "p",
                             .counter = 3,
                             .stage = "probation",
                             .code = "infer_crashed",
                             .detail = "signal 11"};
    struct update_row rows[SLOT_COUNT_MAX];
    size_t count = 0;
    assert_int_equal(journal_put(p.state, &row), ERR_OK);
    row.tries = 3;
    assert_int_equal(journal_put(p.state, &row), ERR_OK); /* replaces */
    place_close(&p);
    place_open(&p, ROOM);
    assert_int_equal(journal_load(p.state, rows, &count), ERR_OK);
    assert_int_equal(count, 1);
    assert_string_equal(rows[0].stage, "probation");
    assert_null(rows[0].device_left);
    assert_string_equal(rows[0].want.hold.reason, "lab");
    assert_int_equal(rows[0].want.objects[1].size, 123456789012);
    rows[0].stage = row.stage;
    assert_memory_equal(&rows[0], &row, sizeof row);
}

static void run_sql(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* The file of the first agents is taken over, and what is written can be read by them: columns come and go. */
static void older_and_newer_files(void **state)
{
    (void)state;
    cleanup_place struct place p;
    place_start(&p, ROOM);
    struct update_row rows[SLOT_COUNT_MAX];
    size_t count = 0;
    place_close(&p);
    run_sql(p.path,
            "ALTER TABLE slot DROP COLUMN objects; ALTER TABLE slot DROP COLUMN object_from;"
            "ALTER TABLE slot DROP COLUMN hold_owner; ALTER TABLE slot DROP COLUMN hold_since;"
            "ALTER TABLE slot DROP COLUMN asked;"
            "INSERT INTO slot VALUES ('digits', 'downloading', 't', '2.0.0', 5, '" O64
            "', 99, 0, 0, 0, '', 6, 0, 50, 0, 0, 'c', 'p', 3, NULL, '', '', NULL);"
            "INSERT INTO slot VALUES ('faces', 'dreaming', 't', '2.0.0', 5, '', 0, 0, 0, 0, '', 6, 0, 0, 0, 0, 'c',"
            " 'p', 3, NULL, '', '', NULL);");
    place_open(&p, ROOM);
    assert_int_equal(journal_load(p.state, rows, &count), ERR_OK);
    assert_int_equal(count, 2);
    assert_int_equal(rows[0].phase, UPDATE_DOWNLOADING);
    assert_string_equal(rows[0].object.sha256, O64);
    assert_int_equal(rows[0].want.object_count, 1); /* so the download goes on */
    assert_string_equal(rows[0].want.objects[0].sha256, O64);
    assert_int_equal(rows[1].phase, UPDATE_IDLE); /* a phase of the future: the document will say it again */
    assert_string_equal(rows[1].want.bundle, "c");
}

static void damaged_file_is_put_aside(void **state)
{
    (void)state;
    cleanup_place struct place p;
    place_start(&p, ROOM);
    char aside[128];
    char epoch[32];
    bool fresh = false;
    cleanup_free char *bytes = NULL;
    (void)text_copy(epoch, sizeof epoch, spool_epoch(p.spool));
    place_close(&p);
    assert_int_equal(file_write(p.path, "this is not a database, but it is long enough to look at twice", 62, 0600),
                     ERR_OK);
    struct err_info info = {0};
    assert_int_equal(state_open(p.path, &p.state, &fresh, &info), ERR_OK);
    assert_true(fresh);
    assert_int_equal(spool_open(p.state, ROOM, &p.spool), ERR_OK);
    assert_string_not_equal(spool_epoch(p.spool), epoch); /* a new spool says so */
    (void)snprintf(aside, sizeof aside, "%s.damaged", p.path);
    assert_int_equal(file_read(aside, 4096, &bytes, NULL), ERR_OK);
}

static void newer_file_is_put_aside(void **state)
{
    (void)state;
    cleanup_place struct place p;
    place_start(&p, ROOM);
    char aside[128];
    bool fresh = false;
    struct err_info info = {0};
    cleanup_free char *bytes = NULL;
    place_close(&p);
    run_sql(p.path, "PRAGMA user_version = 2; ALTER TABLE slot RENAME TO slots;");
    assert_int_equal(state_open(p.path, &p.state, &fresh, &info), ERR_OK);
    assert_true(fresh);
    assert_int_equal(spool_open(p.state, ROOM, &p.spool), ERR_OK);
    (void)snprintf(aside, sizeof aside, "%s.newer", p.path);
    assert_int_equal(file_read(aside, 1024 * 1024, &bytes, NULL), ERR_OK);
}

static void second_agent_is_kept_out(void **state)
{
    (void)state;
    cleanup_place struct place p;
    place_start(&p, ROOM);
    struct state *other = NULL;
    bool fresh = false;
    assert_int_equal(state_open(p.path, &other, &fresh, NULL), ERR_CONFLICT);
}

/* ---------------------------------------------------------------- the spool */

static void add(struct place *p, enum spool_rank rank, int n)
{
    char item[64];
    (void)snprintf(item, sizeof item, "{\"kind\":\"x\",\"n\":%d}", n);
    assert_int_equal(spool_add(p->spool, rank, item), ERR_OK);
}

static void freeze(struct place *p)
{
    assert_int_equal(state_begin(p->state), ERR_OK);
    assert_int_equal(spool_freeze(p->spool), ERR_OK);
    assert_int_equal(state_commit(p->state), ERR_OK);
}

/* The waiting batch: its seq, and the `n` of its items as text "1 2 3". */
static json_int_t batch(struct place *p, char numbers[256])
{
    cleanup_free char *text = NULL;
    json_t *json = NULL;
    int64_t seq = 0;
    size_t len = 0;
    assert_int_equal(spool_message(p->spool, &text), ERR_OK);
    assert_int_equal(json_parse(text, strlen(text), JSON_BYTES_MAX, &json, NULL), ERR_OK);
    assert_int_equal(json_get_id(json, "seq", 1, &seq, NULL), ERR_OK);
    assert_string_equal(json_text_or_null(json, "epoch"), spool_epoch(p->spool));
    const json_t *items = json_object_get(json, "items");
    numbers[0] = '\0';
    for (size_t i = 0; i < json_array_size(items); i++)
        len += (size_t)snprintf(numbers + len, 256 - len, "%s%d", i == 0 ? "" : " ",
                                (int)json_integer_value(json_object_get(json_array_get(items, i), "n")));
    json_decref(json);
    return seq;
}

static void batches_in_order_of_rank(void **state)
{
    (void)state;
    cleanup_place struct place p;
    place_start(&p, ROOM);
    char numbers[256];
    int64_t first = 0;
    int64_t last = 0;
    cleanup_free char *none = NULL;
    spool_range(p.spool, &first, &last);
    assert_true(first > last);
    freeze(&p);
    assert_int_equal(spool_message(p.spool, &none), ERR_NOT_FOUND);
    add(&p, SPOOL_TELEMETRY, 1);
    add(&p, SPOOL_REPORT, 2);
    add(&p, SPOOL_EVENT, 3);
    add(&p, SPOOL_TELEMETRY, 4);
    freeze(&p);
    assert_int_equal(batch(&p, numbers), 1);
    assert_string_equal(numbers, "2 3 1 4");
    add(&p, SPOOL_REPORT, 5);
    freeze(&p); /* one at a time: the first still waits */
    assert_int_equal(batch(&p, numbers), 1);
    assert_string_equal(numbers, "2 3 1 4");
    spool_range(p.spool, &first, &last);
    assert_int_equal(first, 1);
    assert_int_equal(last, 1);
}

static void ack_moves_on(void **state)
{
    (void)state;
    cleanup_place struct place p;
    place_start(&p, ROOM);
    char numbers[256];
    add(&p, SPOOL_TELEMETRY, 1);
    freeze(&p);
    assert_false(spool_ack(p.spool, "0000000000000000", 1)); /* of another epoch */
    assert_false(spool_ack(p.spool, spool_epoch(p.spool), 0));
    assert_true(spool_ack(p.spool, spool_epoch(p.spool), 1));
    assert_false(spool_ack(p.spool, spool_epoch(p.spool), 1)); /* a repeat */
    add(&p, SPOOL_TELEMETRY, 2);
    freeze(&p);
    assert_int_equal(batch(&p, numbers), 2);
    assert_string_equal(numbers, "2");
}

static void restart_sends_the_same_batch(void **state)
{
    (void)state;
    cleanup_place struct place p;
    place_start(&p, ROOM);
    cleanup_free char *before = NULL;
    cleanup_free char *after = NULL;
    add(&p, SPOOL_TELEMETRY, 1);
    freeze(&p);
    add(&p, SPOOL_REPORT, 2);
    assert_int_equal(spool_message(p.spool, &before), ERR_OK);
    assert_true(spool_ack(p.spool, spool_epoch(p.spool), 1)); /* lost by the crash: it goes out once more */
    place_close(&p);
    place_open(&p, ROOM);
    assert_int_equal(spool_message(p.spool, &after), ERR_OK);
    assert_string_equal(before, after);
    assert_true(spool_has(p.spool, SPOOL_REPORT));
}

static void rollback_forgets(void **state)
{
    (void)state;
    cleanup_place struct place p;
    place_start(&p, ROOM);
    char numbers[256];
    assert_int_equal(state_begin(p.state), ERR_OK);
    add(&p, SPOOL_REPORT, 1);
    assert_int_equal(spool_freeze(p.spool), ERR_OK);
    state_rollback(p.state);
    assert_int_equal(spool_reload(p.spool), ERR_OK);
    assert_false(spool_has(p.spool, SPOOL_TELEMETRY));
    add(&p, SPOOL_REPORT, 2);
    freeze(&p);
    assert_int_equal(batch(&p, numbers), 1);
    assert_string_equal(numbers, "2");
}

static void batch_stays_below_the_limit(void **state)
{
    (void)state;
    cleanup_place struct place p;
    place_start(&p, 16 * ROOM);
    enum { SIZE = 100 * 1024 };
    cleanup_free char *item = malloc(SIZE + 1);
    assert_non_null(item);
    memset(item, 'x', SIZE);
    memcpy(item, "{\"k\":\"", 6);
    memcpy(item + SIZE - 2, "\"}", 3);
    for (int i = 0; i < 5; i++)
        assert_int_equal(spool_add(p.spool, SPOOL_TELEMETRY, item), ERR_OK);
    for (int seq = 1; seq <= 3; seq++) {
        cleanup_free char *text = NULL;
        freeze(&p);
        assert_int_equal(spool_message(p.spool, &text), ERR_OK);
        assert_true(strlen(text) <= JSON_BYTES_MAX);
        assert_true(spool_ack(p.spool, spool_epoch(p.spool), seq));
    }
    assert_false(spool_has(p.spool, SPOOL_TELEMETRY));
    cleanup_free char *huge = calloc(1, SPOOL_ITEM_MAX + 2);
    assert_non_null(huge);
    memset(huge, 'x', SPOOL_ITEM_MAX + 1);
    assert_int_equal(spool_add(p.spool, SPOOL_TELEMETRY, huge), ERR_TOO_LARGE);
}

static void full_spool_drops_and_says_so(void **state)
{
    (void)state;
    cleanup_place struct place p;
    place_start(&p, 4000);
    cleanup_free char *text = NULL;
    add(&p, SPOOL_REPORT, 1);
    for (int i = 0; i < 1000; i++)
        add(&p, SPOOL_TELEMETRY, 1000 + i);
    freeze(&p);
    assert_int_equal(spool_message(p.spool, &text), ERR_OK);
    assert_non_null(strstr(text, "{\"kind\":\"x\",\"n\":1}"));    /* reports stay */
    assert_null(strstr(text, "{\"kind\":\"x\",\"n\":1000}"));     /* the oldest telemetry went */
    assert_non_null(strstr(text, "{\"kind\":\"x\",\"n\":1999}")); /* the newest is here */
    json_t *json = NULL;
    assert_int_equal(json_parse(text, strlen(text), JSON_BYTES_MAX, &json, NULL), ERR_OK);
    const json_t *items = json_object_get(json, "items");
    size_t kept = json_array_size(items) - 2; /* telemetry: all but the report and the event */
    const char *detail = NULL;
    for (size_t i = 0; i < json_array_size(items); i++)
        if (text_eq(json_text_or_null(json_array_get(items, i), "name"), "spool_dropped"))
            detail = json_text_or_null(json_array_get(items, i), "detail");
    assert_non_null(detail);
    char expected[64];
    (void)snprintf(expected, sizeof expected, "the spool was full: %zu items dropped", 1000 - kept);
    assert_string_equal(detail, expected);
    json_decref(json);
    assert_true(spool_ack(p.spool, spool_epoch(p.spool), 1));
    add(&p, SPOOL_TELEMETRY, 1);
    freeze(&p);
    char numbers[256];
    assert_int_equal(batch(&p, numbers), 2);
    assert_string_equal(numbers, "1"); /* it is said once */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values),
        cmocka_unit_test(journal_round_trip),
        cmocka_unit_test(older_and_newer_files),
        cmocka_unit_test(damaged_file_is_put_aside),
        cmocka_unit_test(newer_file_is_put_aside),
        cmocka_unit_test(second_agent_is_kept_out),
        cmocka_unit_test(batches_in_order_of_rank),
        cmocka_unit_test(ack_moves_on),
        cmocka_unit_test(restart_sends_the_same_batch),
        cmocka_unit_test(rollback_forgets),
        cmocka_unit_test(batch_stays_below_the_limit),
        cmocka_unit_test(full_spool_drops_and_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
