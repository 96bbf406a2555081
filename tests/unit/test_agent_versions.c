/* Versions on the disk, and what a start makes of them: a switch has happened or has not, nothing needed is removed,
 * and without a journal the links are enough. */
#include "agent/state/journal.h"
#include "agent/update/recover.h"
#include "agent/update/versions.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/text.h"

#include "tests/unit/unit.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct place {
    char dir[64];
    char before[256];
};

static void place_start(struct place *p)
{
    *p = (struct place){.dir = "/tmp/muster-test-XXXXXX"};
    assert_non_null(mkdtemp(p->dir));
    assert_non_null(getcwd(p->before, sizeof p->before));
    assert_int_equal(chdir(p->dir), 0);
    assert_int_equal(versions_prepare(NULL), ERR_OK);
}

static void place_end(struct place *p)
{
    assert_int_equal(chdir(p->before), 0);
    assert_int_equal(file_remove_tree(p->dir), ERR_OK);
}
#define cleanup_place [[gnu::cleanup(place_end)]]

static void object_put(const char *sha256, const char *bytes, size_t len)
{
    char path[VERSION_PATH_SIZE];
    (void)snprintf(path, sizeof path, "objects/%.2s", sha256);
    assert_int_equal(file_make_dirs(path, 0700), ERR_OK);
    (void)snprintf(path, sizeof path, "objects/%.2s/%s", sha256, sha256);
    assert_int_equal(file_write(path, bytes, len, 0444), ERR_OK);
}

/* What muster-fetch leaves after unpacking a bundle with two files, one of them deeper; its id. */
static void unpacked(const char *weights, int counter, char ret_bundle[SHA256_HEX])
{
    char model[SHA256_HEX];
    char labels[SHA256_HEX];
    char text[2048];
    assert_int_equal(sha256_hex(weights, strlen(weights), model), ERR_OK);
    assert_int_equal(sha256_hex("labels", 6, labels), ERR_OK);
    int n =
        snprintf(text, sizeof text,
                 "{\"schema\":1,\"kind\":\"model\",\"name\":\"digits\",\"version\":\"1.0.%d\",\"release_counter\":%d,"
                 "\"created\":1,\"model\":{\"file\":\"m/net.onnx\",\"inputs\":[]},"
                 "\"files\":[{\"path\":\"m/net.onnx\",\"size\":%zu,\"sha256\":\"%s\",\"mode\":\"0444\"},"
                 "{\"path\":\"labels.txt\",\"size\":6,\"sha256\":\"%s\",\"mode\":\"0444\"}],"
                 "\"payload\":[{\"file\":\"%s\",\"encoding\":\"raw\",\"size\":%zu,\"sha256\":\"%s\"},"
                 "{\"file\":\"%s\",\"encoding\":\"raw\",\"size\":6,\"sha256\":\"%s\"}]}",
                 counter, counter, strlen(weights), model, labels, model, strlen(weights), model, labels, labels);
    assert_true(n > 0 && (size_t)n < sizeof text);
    assert_int_equal(sha256_hex(text, (size_t)n, ret_bundle), ERR_OK);
    object_put(ret_bundle, text, (size_t)n);
    object_put(model, weights, strlen(weights));
    object_put(labels, "labels", 6);
}

static void stage(const char *bundle)
{
    cleanup_manifest struct manifest *m = NULL;
    assert_int_equal(versions_manifest(bundle, &m), ERR_OK);
    assert_int_equal(versions_stage("digits", m), ERR_OK);
}

static struct update_row row_of(enum update_phase phase, const char *target, const char *committed,
                                const char *previous)
{
    struct update_row row = {.slot = "digits", .phase = phase};
    (void)text_copy(row.want.bundle, sizeof row.want.bundle, target);
    (void)text_copy(row.committed, sizeof row.committed, committed);
    (void)text_copy(row.previous, sizeof row.previous, previous);
    return row;
}

static void links_are(const char *current, const char *previous)
{
    char bundle[SHA256_HEX];
    versions_linked("digits", "current", bundle);
    assert_string_equal(bundle, current);
    versions_linked("digits", "previous", bundle);
    assert_string_equal(bundle, previous);
}

static bool here(const char *bundle)
{
    char dir[VERSION_PATH_SIZE];
    return versions_find("digits", bundle, dir, NULL) == ERR_OK;
}

static size_t objects_count(void)
{
    glob_t found = {0};
    size_t count = glob("objects/*/*", 0, NULL, &found) == 0 ? found.gl_pathc : 0;
    globfree(&found);
    return count;
}

/* ---------------------------------------------------------------- staging and links */

static void staging_can_be_repeated(void **state)
{
    (void)state;
    cleanup_place struct place p;
    place_start(&p);
    char a[SHA256_HEX];
    char dir[VERSION_PATH_SIZE];
    char again[VERSION_PATH_SIZE];
    cleanup_free char *bytes = NULL;
    char path[VERSION_PATH_SIZE + 32];
    unpacked("weights of a", 1, a);
    assert_int_equal(versions_find("digits", a, dir, NULL), ERR_NOT_FOUND);
    stage(a);
    assert_int_equal(versions_find("digits", a, dir, NULL), ERR_OK);
    stage(a);
    assert_int_equal(versions_find("digits", a, again, NULL), ERR_OK);
    assert_string_equal(dir, again);
    (void)snprintf(path, sizeof path, "%s/m/net.onnx", dir);
    assert_int_equal(file_read(path, 100, &bytes, NULL), ERR_OK);
    assert_string_equal(bytes, "weights of a");
}

static void missing_object_is_not_found(void **state)
{
    (void)state;
    cleanup_place struct place p;
    place_start(&p);
    char a[SHA256_HEX];
    char model[SHA256_HEX];
    char path[VERSION_PATH_SIZE];
    struct stat st;
    cleanup_manifest struct manifest *m = NULL;
    unpacked("weights of a", 1, a);
    assert_int_equal(sha256_hex("weights of a", 12, model), ERR_OK);
    (void)snprintf(path, sizeof path, "objects/%.2s/%s", model, model);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(versions_manifest(a, &m), ERR_OK);
    assert_int_equal(versions_stage("digits", m), ERR_NOT_FOUND);
    assert_false(here(a));
    assert_int_not_equal(stat("slots/digits/.new", &st), 0); /* nothing is left */
}

static void damaged_version_does_not_count(void **state)
{
    (void)state;
    cleanup_place struct place p;
    place_start(&p);
    char a[SHA256_HEX];
    char dir[VERSION_PATH_SIZE];
    char path[VERSION_PATH_SIZE + 32];
    unpacked("weights of a", 1, a);
    stage(a);
    assert_int_equal(versions_find("digits", a, dir, NULL), ERR_OK);
    (void)snprintf(path, sizeof path, "%s/labels.txt", dir);
    assert_int_equal(unlink(path), 0);
    assert_false(here(a));
    stage(a); /* beside the damaged one */
    assert_true(here(a));
}

static void links_follow_the_row(void **state)
{
    (void)state;
    cleanup_place struct place p;
    place_start(&p);
    char a[SHA256_HEX];
    char b[SHA256_HEX];
    unpacked("weights of a", 1, a);
    unpacked("weights of b", 2, b);
    stage(a);
    stage(b);
    struct update_row row = row_of(UPDATE_IDLE, a, a, "");
    assert_int_equal(versions_link(&row), ERR_OK);
    links_are(a, "");
    row = row_of(UPDATE_SWITCHING, b, a, "");
    assert_int_equal(versions_link(&row), ERR_OK);
    links_are(b, a);
    row = row_of(UPDATE_RESTORING, b, a, "");
    assert_int_equal(versions_link(&row), ERR_OK);
    links_are(a, "");
    row = row_of(UPDATE_IDLE, "", "", "");
    assert_int_equal(versions_link(&row), ERR_OK);
    links_are("", "");
    row = row_of(UPDATE_IDLE, "c", "c", "");
    assert_int_equal(versions_link(&row), ERR_NOT_FOUND);
}

/* ---------------------------------------------------------------- tidying */

static void tidying_keeps_what_is_needed(void **state)
{
    (void)state;
    cleanup_place struct place p;
    place_start(&p);
    char a[SHA256_HEX];
    char b[SHA256_HEX];
    char c[SHA256_HEX];
    char part[VERSION_PATH_SIZE];
    struct stat st;
    unpacked("weights of a", 1, a);
    unpacked("weights of b", 2, b);
    unpacked("weights of c", 3, c);
    stage(a);
    stage(b);
    stage(c);
    struct update_row row = row_of(UPDATE_IDLE, b, b, a);
    assert_int_equal(versions_link(&row), ERR_OK);
    assert_int_equal(file_write("download/x.part", "x", 1, 0600), ERR_OK);
    versions_part_path(c, part);
    assert_int_equal(file_write(part, "half", 4, 0600), ERR_OK);
    assert_int_equal(objects_count(), 7); /* three manifests, three models, one list of labels */

    row = row_of(UPDATE_HELD, c, b, a); /* c waits, staged */
    versions_tidy(&row, 1);
    assert_true(here(a) && here(b) && here(c));
    assert_int_not_equal(stat("download/x.part", &st), 0);

    row = row_of(UPDATE_DOWNLOADING, "d", b, a);
    (void)text_copy(row.object.sha256, sizeof row.object.sha256, c);
    assert_int_equal(file_write(part, "half", 4, 0600), ERR_OK);
    versions_tidy(&row, 1);
    assert_true(here(a) && here(b));
    assert_false(here(c));
    assert_int_equal(stat(part, &st), 0); /* what is being fetched stays */
    assert_int_equal(objects_count(), 5);

    row = row_of(UPDATE_VERIFYING, c, b, a);
    unpacked("weights of c", 3, c);
    versions_tidy(&row, 1);
    assert_int_equal(objects_count(), 7); /* fresh objects stay while something is unpacked */

    row = row_of(UPDATE_FAILED, c, b, a);
    assert_int_equal(symlink("1-00000000", "slots/digits/.current"), 0); /* of a switch whose rename has failed */
    assert_int_equal(symlink("1-00000000", "slots/digits/.previous"), 0);
    versions_tidy(&row, 1);
    assert_int_not_equal(lstat("slots/digits/.current", &st), 0);
    assert_int_not_equal(lstat("slots/digits/.previous", &st), 0);
    assert_int_equal(objects_count(), 4); /* the labels of c, too: a and b have links of their own */
    assert_true(here(a) && here(b));
    assert_int_not_equal(stat(part, &st), 0);
}

static void tidying_never_removes_what_links_name(void **state)
{
    (void)state;
    cleanup_place struct place p;
    place_start(&p);
    char a[SHA256_HEX];
    unpacked("weights of a", 1, a);
    stage(a);
    struct update_row row = row_of(UPDATE_IDLE, a, a, "");
    assert_int_equal(versions_link(&row), ERR_OK);
    row = row_of(UPDATE_IDLE, "", "", ""); /* a row that is wrong */
    versions_tidy(&row, 1);
    assert_true(here(a));
    links_are(a, "");
}

/* ---------------------------------------------------------------- starting */

static void recovered(struct update_row *ret_row)
{
    struct state *state = NULL;
    struct update_row *rows = calloc(SLOT_COUNT_MAX, sizeof *rows);
    bool fail[SLOT_COUNT_MAX] = {false};
    size_t count = 0;
    bool fresh = false;
    struct err_info info = {0};
    assert_non_null(rows);
    assert_int_equal(state_open("state.db", &state, &fresh, &info), ERR_OK);
    assert_int_equal(recover_rows(state, rows, fail, &count, &info), ERR_OK);
    assert_int_equal(count, 1);
    assert_false(fail[0]);
    *ret_row = rows[0];
    free(rows);
    state_close(state);
}

static void journal_store(const struct update_row *row)
{
    struct state *state = NULL;
    bool fresh = false;
    assert_int_equal(state_open("state.db", &state, &fresh, NULL), ERR_OK);
    assert_int_equal(journal_put(state, row), ERR_OK);
    state_close(state);
}

static void links_are_enough(void **state)
{
    (void)state;
    cleanup_place struct place p;
    place_start(&p);
    char a[SHA256_HEX];
    char b[SHA256_HEX];
    unpacked("weights of a", 4, a);
    unpacked("weights of b", 5, b);
    stage(a);
    struct update_row row = row_of(UPDATE_IDLE, a, a, "");
    assert_int_equal(versions_link(&row), ERR_OK);
    recovered(&row);
    assert_int_equal(row.phase, UPDATE_IDLE);
    assert_string_equal(row.committed, a);
    assert_int_equal(row.counter, 4);
    assert_int_equal(unlink("state.db"), 0);
    stage(b);
    row = row_of(UPDATE_PROBATION, b, a, "");
    assert_int_equal(versions_link(&row), ERR_OK);
    recovered(&row);
    assert_int_equal(row.phase, UPDATE_PROBATION); /* nobody knows whether b has passed: it is watched once more */
    assert_string_equal(row.want.bundle, b);
    assert_string_equal(row.committed, a);
    assert_int_equal(row.counter, 4);
    assert_int_equal(row.target_counter, 5);
}

static void journal_is_checked_against_the_disk(void **state)
{
    (void)state;
    cleanup_place struct place p;
    place_start(&p);
    char a[SHA256_HEX];
    char b[SHA256_HEX];
    unpacked("weights of a", 4, a);
    unpacked("weights of b", 5, b);
    stage(a);
    struct update_row row = row_of(UPDATE_IDLE, a, a, b); /* b was removed by somebody */
    assert_int_equal(versions_link(&row), ERR_OK);
    journal_store(&row);
    recovered(&row);
    assert_string_equal(row.committed, a);
    assert_string_equal(row.previous, "");
    row = row_of(UPDATE_IDLE, b, b, ""); /* and this row is of another disk */
    row.counter = 9;
    journal_store(&row);
    recovered(&row);
    assert_string_equal(row.committed, a); /* what `current` names */
    assert_string_equal(row.want.bundle, a);
    assert_int_equal(row.counter, 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(staging_can_be_repeated),
        cmocka_unit_test(missing_object_is_not_found),
        cmocka_unit_test(damaged_version_does_not_count),
        cmocka_unit_test(links_follow_the_row),
        cmocka_unit_test(tidying_keeps_what_is_needed),
        cmocka_unit_test(tidying_never_removes_what_links_name),
        cmocka_unit_test(links_are_enough),
        cmocka_unit_test(journal_is_checked_against_the_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
