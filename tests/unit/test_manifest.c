/* manifest.json: a good one is read in full, and one change at a time is refused with its code and field. */
#include "common/base/cleanup.h"
#include "common/bundle/manifest.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define C "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"

/* An entry of 131,073 bytes with blocks. */
#define BLOCKS(size, list)                                                                                             \
    "{\"file\":\"" A "\",\"encoding\":\"zstd\",\"size\":131073,\"sha256\":\"" C "\",\"blocks\":{\"size\":" size        \
    ",\"sha256\":\"" list "\"}}"

static const char good[] =
    "{\"schema\":1,\"kind\":\"model\",\"name\":\"digits\",\"version\":\"1.2.3-rc.1+build.7\",\"release_counter\":7,"
    "\"created\":1764000000000,\"notes\":\"first\",\"critical\":[\"payload\",\"requires\"],"
    "\"requires\":{\"hardware\":[\"pi5\",\"orin\"],\"min_agent\":\"0.1.0\"},"
    "\"files\":[{\"path\":\"model.onnx\",\"size\":10,\"sha256\":\"" A "\",\"mode\":\"0444\"},"
    "{\"path\":\"bin/run\",\"size\":20,\"sha256\":\"" B "\",\"mode\":\"0555\"},"
    "{\"path\":\"copy/model.onnx\",\"size\":10,\"sha256\":\"" A "\",\"mode\":\"0444\"}],"
    "\"payload\":[{\"file\":\"" A "\",\"encoding\":\"raw\",\"size\":10,\"sha256\":\"" A "\"},"
    "{\"file\":\"" B "\",\"encoding\":\"raw\",\"size\":20,\"sha256\":\"" B "\"}],"
    "\"model\":{\"file\":\"model.onnx\",\"inputs\":[{\"name\":\"input\",\"type\":\"float32\",\"shape\":[-1,1,16,16]}],"
    "\"outputs\":[{\"name\":\"logits\",\"type\":\"float32\",\"shape\":[-1,10]}],\"labels\":[\"0\",\"1\"]},"
    "\"profile\":{\"features\":[{\"name\":\"mean\",\"edges\":[0,1,2,3,4,5,6,7,8,9,10],"
    "\"counts\":[0,5,5,5,5,5,5,5,5,5,5,0,0],\"samples\":50}]},"
    "\"something_new\":{\"is\":\"ignored\"}}";

static void a_good_one_is_read(void **state)
{
    (void)state;
    cleanup_manifest struct manifest *m = NULL;
    struct err_info info = {0};
    char id[SHA256_HEX];
    enum err e = manifest_parse(good, strlen(good), &m, &info);
    if (e != ERR_OK)
        fail_msg("%s: %s", info.code, info.text);
    assert_int_equal(sha256_hex(good, strlen(good), id), ERR_OK);
    assert_string_equal(m->id, id);
    assert_memory_equal(m->raw, good, sizeof good);
    assert_int_equal(m->kind, MANIFEST_MODEL);
    assert_string_equal(m->slot, "digits");
    assert_string_equal(m->version, "1.2.3-rc.1+build.7");
    assert_int_equal(m->release_counter, 7);
    assert_int_equal(m->file_count, 3);
    assert_string_equal(m->files[1].path, "bin/run");
    assert_int_equal(m->files[1].size, 20);
    assert_string_equal(m->files[1].sha256, B);
    assert_int_equal(m->files[1].mode, 0555);
    assert_int_equal(m->files[2].mode, 0444);
    assert_int_equal(m->payload_count, 2);
    assert_string_equal(m->payload[1].file, B);
    assert_ptr_equal(manifest_payload_file(m, &m->payload[1]), &m->files[1]);
    char name[MANIFEST_PAYLOAD_NAME];
    manifest_payload_name(&m->payload[0], name);
    assert_string_equal(name, "payload/" A);
    assert_string_equal(m->model.file, "model.onnx");
    assert_int_equal(m->model.input_count, 1);
    assert_string_equal(m->model.inputs[0].type, "float32");
    assert_int_equal(m->model.inputs[0].rank, 4);
    assert_int_equal(m->model.inputs[0].shape[0], -1);
    assert_int_equal(m->model.inputs[0].shape[3], 16);
    assert_int_equal(m->model.output_count, 1);
    assert_int_equal(json_array_size(m->model.labels), 2);
    assert_non_null(m->profile);
    assert_int_equal(m->requires_.hardware_count, 2);
    assert_string_equal(m->requires_.hardware[1], "orin");
    assert_string_equal(m->requires_.min_agent, "0.1.0");
    assert_int_equal(manifest_files_size(m), 40);
    assert_ptr_equal(manifest_file_find(m, "copy/model.onnx"), &m->files[2]);
    assert_null(manifest_file_find(m, "model"));
}

/* The container that holds the last part of a path like "files/0/path", and that part. */
static json_t *walk(json_t *json, const char *path, char last[64])
{
    for (;;) {
        size_t n = strcspn(path, "/");
        assert_true(n < 64);
        memcpy(last, path, n);
        last[n] = '\0';
        if (path[n] == '\0')
            return json;
        json = json_is_array(json) ? json_array_get(json, (size_t)(last[0] - '0')) : json_object_get(json, last);
        assert_non_null(json);
        path += n + 1;
    }
}

/* Sets what is at the path (value: JSON text), or deletes it (NULL). */
static void change(json_t *json, const char *path, const char *value)
{
    char last[64];
    json_t *holder = walk(json, path, last);
    json_t *made = value == NULL ? NULL : json_loads(value, JSON_DECODE_ANY, NULL);
    if (json_is_array(holder)) {
        size_t i = (size_t)(last[0] - '0');
        int rc = made == NULL                   ? json_array_remove(holder, i)
                 : i == json_array_size(holder) ? json_array_append_new(holder, made)
                                                : json_array_set_new(holder, i, made);
        assert_int_equal(rc, 0);
    } else {
        assert_int_equal(made == NULL ? json_object_del(holder, last) : json_object_set_new(holder, last, made), 0);
    }
}

struct bad {
    const char *path;  /* what is changed in the good one */
    const char *value; /* to what; NULL: removed */
    const char *field; /* which field the error names */
    enum err e;        /* ERR_OK: not refused */
};

static const struct bad bad_models[] = {
    {"schema", NULL, "schema", ERR_INVALID},
    {"schema", "2", "", ERR_UNSUPPORTED},
    {"schema", "\"1\"", "schema", ERR_INVALID},
    {"kind", "\"driver\"", "", ERR_UNSUPPORTED},
    {"kind", NULL, "kind", ERR_INVALID},
    {"kind", "\"app\"", "model", ERR_INVALID},
    {"kind", "\"agent\"", "name", ERR_INVALID},
    {"name", NULL, "name", ERR_INVALID},
    {"name", "\"Digits\"", "name", ERR_INVALID},
    {"name", "\"-digits\"", "name", ERR_INVALID},
    {"name", "\"\"", "name", ERR_INVALID},
    {"name", "\"../x\"", "name", ERR_INVALID},
    {"name", "\"agent\"", "name", ERR_INVALID},
    {"version", "\"1.2\"", "version", ERR_INVALID},
    {"version", "\"1.02.3\"", "version", ERR_INVALID},
    {"version", "7", "version", ERR_INVALID},
    {"release_counter", "0", "release_counter", ERR_INVALID},
    {"release_counter", "9007199254740992", "release_counter", ERR_INVALID},
    {"release_counter", "9007199254740991", "", ERR_OK},
    {"release_counter", "1.5", "release_counter", ERR_INVALID},
    {"created", NULL, "created", ERR_INVALID},
    {"notes", "5", "notes", ERR_INVALID},
    {"notes", NULL, "", ERR_OK},
    {"critical", "[\"selftest\",\"health\",\"app\",\"agent\"]", "", ERR_OK},
    {"critical", "[\"attestation\"]", "", ERR_UNSUPPORTED},
    {"critical", "[1]", "critical", ERR_INVALID},
    {"requires/hardware", "[1]", "requires.hardware", ERR_INVALID},
    {"requires/min_agent", "\"new\"", "requires.min_agent", ERR_INVALID},
    {"requires/memory", "1000", "", ERR_OK},
    {"requires/memory", "-1", "requires.memory", ERR_INVALID},
    {"requires/memory", "1.5", "requires.memory", ERR_INVALID},
    {"requires/disk", "1099511627776", "", ERR_OK},
    {"requires/disk", "1099511627777", "requires.disk", ERR_INVALID},
    {"requires/runtime", "\"1.16.0\"", "", ERR_OK},
    {"requires/runtime", "\"1.16\"", "requires.runtime", ERR_INVALID},
    {"requires/accelerator", "[\"cuda\", \"hailo-8\"]", "", ERR_OK},
    {"requires/accelerator", "[]", "", ERR_OK},
    {"requires/accelerator", "\"cuda\"", "requires.accelerator", ERR_INVALID},
    {"requires/moon_phase", "\"full\"", "requires", ERR_UNSUPPORTED},
    {"requires", NULL, "", ERR_OK},
    {"files", "[]", "files", ERR_INVALID},
    {"files", NULL, "files", ERR_INVALID},
    {"files/0/path", "\"/model.onnx\"", "files[0].path", ERR_INVALID},
    {"files/0/path", "\"../model.onnx\"", "files[0].path", ERR_INVALID},
    {"files/0/path", "\"a/../model.onnx\"", "files[0].path", ERR_INVALID},
    {"files/0/path", "\"a/./model.onnx\"", "files[0].path", ERR_INVALID},
    {"files/0/path", "\"a//model.onnx\"", "files[0].path", ERR_INVALID},
    {"files/0/path", "\"a/\"", "files[0].path", ERR_INVALID},
    {"files/0/path", "\".\"", "files[0].path", ERR_INVALID},
    {"files/0/path", "\"\"", "files[0].path", ERR_INVALID},
    {"files/0/path", "\"a b\"", "files[0].path", ERR_INVALID},
    {"files/0/path", "\"a\\\\b\"", "files[0].path", ERR_INVALID},
    {"files/0/path", "\"\\u00e9\"", "files[0].path", ERR_INVALID},
    {"files/0/path", "\"manifest.json\"", "files[0].path", ERR_INVALID},
    {"files/0/path", "\"manifest.json.x.minisig\"", "files[0].path", ERR_INVALID},
    {"files/0/path", "\"bin/run\"", "files[1].path", ERR_INVALID},
    {"files/0/path", "\"bin\"", "files[1].path", ERR_INVALID},
    {"files/0/path", "\"bin/run/deep\"", "files[1].path", ERR_INVALID},
    {"files/0/size", "-1", "files[0].size", ERR_INVALID},
    {"files/0/size", "1099511627777", "files[0].size", ERR_INVALID},
    {"files/0/size", "11", "files[2].sha256", ERR_INVALID},
    {"files/0/sha256", "\"" C "\"", "payload", ERR_INVALID},
    {"files/0/sha256", "\"AB\"", "files[0].sha256", ERR_INVALID},
    {"files/0/mode", "\"0644\"", "files[0].mode", ERR_INVALID},
    {"files/0/mode", "\"4755\"", "files[0].mode", ERR_INVALID},
    {"files/0/mode", "\"0555\"", "files[2].sha256", ERR_INVALID},
    {"files/0/owner", "0", "files[0].owner", ERR_INVALID},
    {"files/0", "\"model.onnx\"", "files[0]", ERR_INVALID},
    {"payload", "[]", "payload", ERR_INVALID},
    {"payload/1", NULL, "payload", ERR_INVALID},
    {"payload/2", "{\"file\":\"" A "\",\"encoding\":\"raw\",\"size\":10,\"sha256\":\"" A "\"}", "payload[2].file",
     ERR_INVALID},
    {"payload/0/file", "\"" C "\"", "payload[0].file", ERR_INVALID},
    {"payload/0/sha256", "\"" C "\"", "payload[0].sha256", ERR_INVALID},
    {"payload/0/size", "9", "payload[0].sha256", ERR_INVALID},
    {"payload/0/encoding", "\"brotli\"", "payload[0]", ERR_UNSUPPORTED},
    {"payload/0/encoding", "\"delta\"", "payload[0]", ERR_UNSUPPORTED},
    {"payload/0/encoding", "\"zstd\"", "payload[0].sha256", ERR_INVALID},
    {"payload/0", "{\"file\":\"" A "\",\"encoding\":\"zstd\",\"size\":7,\"sha256\":\"" C "\"}", "", ERR_OK},
    {"payload/0", "{\"file\":\"" A "\",\"encoding\":\"zstd\",\"size\":0,\"sha256\":\"" C "\"}", "payload[0].sha256",
     ERR_INVALID},
    {"payload/1", "{\"file\":\"" B "\",\"encoding\":\"zstd\",\"size\":7,\"sha256\":\"" A "\"}", "payload[1].sha256",
     ERR_INVALID},
    {"payload/0", BLOCKS("65536", A B C), "", ERR_OK},
    {"payload/0", BLOCKS("131072", A B), "", ERR_OK},
    {"payload/0", BLOCKS("65536", A B), "payload[0].blocks", ERR_INVALID},
    {"payload/0", BLOCKS("65536", A B C A), "payload[0].blocks", ERR_INVALID},
    {"payload/0", BLOCKS("65536", A B "C"), "payload[0].blocks", ERR_INVALID},
    {"payload/0", BLOCKS("131073", A), "payload[0].blocks", ERR_INVALID},
    {"payload/0", BLOCKS("131072", ""), "payload[0].blocks", ERR_INVALID},
    {"payload/0", BLOCKS("65535", A B C), "payload[0].blocks.size", ERR_INVALID},
    {"payload/0", BLOCKS("1099511627777", A B), "payload[0].blocks.size", ERR_INVALID},
    {"payload/0/blocks", "{\"size\":65536,\"sha256\":\"\",\"more\":1}", "payload[0].blocks.more", ERR_INVALID},
    {"payload/0/blocks", "[]", "payload[0].blocks", ERR_INVALID},
    {"payload/0/blocks", "null", "", ERR_OK},
    {"payload/0/encoding", NULL, "payload[0].encoding", ERR_INVALID},
    {"payload/0/from", "\"" C "\"", "payload[0].from", ERR_INVALID},
    {"model", NULL, "model", ERR_INVALID},
    {"model/file", "\"other.onnx\"", "model.file", ERR_INVALID},
    {"model/inputs", NULL, "", ERR_OK},
    {"model/inputs/0/shape", "[0]", "model.inputs[0].shape", ERR_INVALID},
    {"model/inputs/0/shape", "[1,1,1,1,1,1,1,1,1]", "model.inputs[0].shape", ERR_INVALID},
    {"model/inputs/0/type", "1", "model.inputs[0].type", ERR_INVALID},
    {"model/inputs/0/dtype", "1", "model.inputs[0].dtype", ERR_INVALID},
    {"model/labels", "[1]", "model.labels", ERR_INVALID},
    {"profile", "{}", NULL, ERR_INVALID},
    {"profile/features/0/counts", "[1,2]", NULL, ERR_INVALID},
    {"profile", NULL, "", ERR_OK},
    {"app", "{}", "app", ERR_INVALID},
    {"agent", "{\"program\":\"bin/run\"}", "agent", ERR_INVALID},
    {"app", "null", "", ERR_OK},
    {"selftest", "{\"samples\":\"bin/run\",\"outputs\":\"copy/model.onnx\",\"tolerance\":0.001}", "selftest.outputs",
     ERR_INVALID}, /* 10 bytes */
    {"selftest", "{\"samples\":\"bin/run\",\"outputs\":\"bin/run\",\"tolerance\":0.001}", "selftest.outputs",
     ERR_INVALID},
    {"selftest", "{\"samples\":\"in\",\"outputs\":\"out\",\"tolerance\":0.001}", "selftest.samples", ERR_INVALID},
    {"selftest", "{\"samples\":\"bin/run\"}", "selftest.outputs", ERR_INVALID},
    {"selftest", "[]", "selftest", ERR_INVALID},
    {"health", "{}", "", ERR_OK},
    {"health", "{\"max_error_rate\":0.5,\"max_restarts\":100}", "", ERR_OK},
    {"health", "{\"max_error_rate\":1.01}", "health.max_error_rate", ERR_INVALID},
    {"health", "{\"max_restarts\":101}", "health.max_restarts", ERR_INVALID},
    {"health", "{\"max_restarts\":-1}", "health.max_restarts", ERR_INVALID},
    {"health", "{\"max_latency_ms\":5}", "health", ERR_UNSUPPORTED},
};

/* ---- apps, the agent, self-tests ---- */

#define FILES                                                                                                          \
    "\"files\":[{\"path\":\"bin/run\",\"size\":20,\"sha256\":\"" A "\",\"mode\":\"0555\"},"                            \
    "{\"path\":\"etc/x.service\",\"size\":12,\"sha256\":\"" B "\",\"mode\":\"0444\"},"                                 \
    "{\"path\":\"x@.service\",\"size\":12,\"sha256\":\"" C "\",\"mode\":\"0444\"}],"                                   \
    "\"payload\":[{\"file\":\"" A "\",\"encoding\":\"raw\",\"size\":20,\"sha256\":\"" A "\"},"                         \
    "{\"file\":\"" B "\",\"encoding\":\"raw\",\"size\":12,\"sha256\":\"" B "\"},"                                      \
    "{\"file\":\"" C "\",\"encoding\":\"raw\",\"size\":12,\"sha256\":\"" C "\"}],"
#define HEAD(kind, name)                                                                                               \
    "{\"schema\":1,\"kind\":\"" kind "\",\"name\":\"" name                                                             \
    "\",\"version\":\"1.0.0\",\"release_counter\":1,\"created\":0," FILES

static const char good_app[] =
    HEAD("app", "counter") "\"critical\":[\"app\",\"health\"],\"health\":{\"max_restarts\":2},"
                           "\"app\":{\"run\":[\"bin/run\",\"--port\",\"80\",\"\"],\"timeout_s\":9,"
                           "\"commands\":{\"before\":[\"bin/run\",\"--test\"],\"check\":[\"bin/"
                           "run\",\"--ping\"],\"stop\":[\"bin/run\",\"--stop\"]}}}";

static const struct bad bad_apps[] = {
    {"app", NULL, "app", ERR_INVALID},
    {"app", "null", "app", ERR_INVALID},
    {"app", "{}", "", ERR_OK},
    {"app/exec", "[\"bin/run\"]", "app", ERR_UNSUPPORTED},
    {"app/run", "[\"/bin/sh\",\"-c\",\"true\"]", "app.run", ERR_INVALID},
    {"app/run", "[\"etc/x.service\"]", "app.run", ERR_INVALID},
    {"app/run", "[]", "app.run", ERR_INVALID},
    {"app/run", "\"bin/run\"", "app.run", ERR_INVALID},
    {"app/run", "[\"bin/run\",1]", "app.run", ERR_INVALID},
    {"app/run", NULL, "", ERR_OK},
    {"app/unit", "\"etc/x.service\"", "app.unit", ERR_INVALID}, /* and "run" */
    {"app/commands/before", "[\"run\"]", "app.commands.before", ERR_INVALID},
    {"app/commands/check", "[\"etc/x.service\"]", "app.commands.check", ERR_INVALID},
    {"app/commands/stop", "{}", "app.commands.stop", ERR_INVALID},
    {"app/commands/after", "[\"bin/run\"]", "app.commands", ERR_UNSUPPORTED},
    {"app/commands", "[]", "app.commands", ERR_INVALID},
    {"app/timeout_s", "0", "app.timeout_s", ERR_INVALID},
    {"app/timeout_s", "3601", "app.timeout_s", ERR_INVALID},
    {"app/timeout_s", "3600", "", ERR_OK},
    {"selftest", "{\"samples\":\"etc/x.service\",\"outputs\":\"x@.service\",\"tolerance\":0}", "selftest", ERR_INVALID},
    {"name", "\"agent\"", "name", ERR_INVALID},
};

static const char good_unit[] = HEAD("app", "counter") "\"app\":{\"unit\":\"etc/x.service\"}}";

static const struct bad bad_units[] = {
    {"app/unit", "\"bin/run\"", "app.unit", ERR_INVALID},
    {"app/unit", "\"x@.service\"", "app.unit", ERR_INVALID},
    {"app/unit", "\"other.service\"", "app.unit", ERR_INVALID},
    {"app/unit", "null", "", ERR_OK},
    {"app/run", "[\"bin/run\"]", "app.unit", ERR_INVALID},
    {"files/1/path", "\"etc/.service\"", "app.unit", ERR_INVALID},
};

static const char good_agent[] = HEAD("agent", "agent") "\"agent\":{\"program\":\"bin/run\"}}";

static const struct bad bad_agents[] = {
    {"agent", NULL, "agent", ERR_INVALID},
    {"agent/program", NULL, "agent.program", ERR_INVALID},
    {"agent/program", "\"run\"", "agent.program", ERR_INVALID},
    {"agent/program", "\"etc/x.service\"", "agent.program", ERR_INVALID},
    {"agent/arguments", "[]", "agent", ERR_UNSUPPORTED},
    {"name", "\"digits\"", "name", ERR_INVALID},
    {"app", "{}", "app", ERR_INVALID},
};

static const char good_test[] = HEAD(
    "model", "digits") "\"model\":{\"file\":\"bin/run\"},"
                       "\"selftest\":{\"samples\":\"etc/x.service\",\"outputs\":\"x@.service\",\"tolerance\":0.001}}";

static const struct bad bad_tests[] = {
    {"selftest/tolerance", NULL, "selftest.tolerance", ERR_INVALID},
    {"selftest/tolerance", "-0.1", "selftest.tolerance", ERR_INVALID},
    {"selftest/tolerance", "1e10", "selftest.tolerance", ERR_INVALID},
    {"selftest/tolerance", "1", "", ERR_OK},
    {"selftest/metric", "\"mean\"", "selftest", ERR_UNSUPPORTED},
    {"selftest", "null", "", ERR_OK},
};

static struct manifest *read_good(const char *text)
{
    struct manifest *m = NULL;
    struct err_info info = {0};
    if (manifest_parse(text, strlen(text), &m, &info) != ERR_OK)
        fail_msg("%s: %s", info.code, info.text);
    return m;
}

static void apps_agents_and_tests_are_read(void **state)
{
    (void)state;
    cleanup_manifest struct manifest *app = read_good(good_app);
    assert_int_equal(app->kind, MANIFEST_APP);
    assert_null(app->app.unit);
    assert_int_equal(app->app.run.count, 4);
    assert_string_equal(app->app.run.words[0], "bin/run");
    assert_string_equal(app->app.run.words[3], "");
    assert_string_equal(app->app.before.words[1], "--test");
    assert_string_equal(app->app.check.words[1], "--ping");
    assert_string_equal(app->app.stop.words[1], "--stop");
    assert_int_equal(app->app.timeout_s, 9);
    assert_int_equal(app->health.max_restarts, 2);
    assert_true(app->health.max_error_rate == 0.01);

    cleanup_manifest struct manifest *unit = read_good(good_unit);
    assert_string_equal(unit->app.unit, "etc/x.service");
    assert_int_equal(unit->app.run.count, 0);
    assert_int_equal(unit->app.timeout_s, 60);

    cleanup_manifest struct manifest *agent = read_good(good_agent);
    assert_int_equal(agent->kind, MANIFEST_AGENT);
    assert_string_equal(agent->agent.program, "bin/run");

    cleanup_manifest struct manifest *test = read_good(good_test);
    assert_string_equal(test->selftest.samples, "etc/x.service");
    assert_string_equal(test->selftest.outputs, "x@.service");
    assert_true(test->selftest.tolerance == 0.001);
}

static void requirements_are_read(void **state)
{
    (void)state;
    json_auto_t *json = json_loads(good_test, 0, NULL);
    change(json, "requires",
           "{\"runtime\":\"1.16.0\",\"memory\":5,\"disk\":6,\"accelerator\":[\"cuda\",\"hailo-8\"],\"hardware\":null}");
    cleanup_free char *text = json_dumps(json, 0);
    cleanup_manifest struct manifest *m = read_good(text);
    assert_string_equal(m->requires_.runtime, "1.16.0");
    assert_int_equal(m->requires_.memory, 5);
    assert_int_equal(m->requires_.disk, 6);
    assert_int_equal(m->requires_.accelerator_count, 2);
    assert_string_equal(m->requires_.accelerators[1], "hailo-8");
    assert_int_equal(m->requires_.hardware_count, 0);
}

/* Each change of the good one alone, and what becomes of it. */
static void refuse(const char *base, const struct bad *list, size_t count)
{
    for (const struct bad *bad = list; bad < list + count; bad++) {
        json_auto_t *json = json_loads(base, 0, NULL);
        change(json, bad->path, bad->value);
        cleanup_free char *text = NULL;
        size_t len = 0;
        assert_int_equal(json_print(json, &text, &len), ERR_OK);
        cleanup_manifest struct manifest *m = NULL;
        struct err_info info = {0};
        enum err e = manifest_parse(text, len, &m, &info);
        const char *code = bad->e == ERR_INVALID ? "manifest_invalid" : bad->e == ERR_OK ? "" : "manifest_unsupported";
        if (e != bad->e || strcmp(info.code, code) != 0 || (bad->field != NULL && strcmp(info.field, bad->field) != 0))
            fail_msg("%s = %s: error %s, code \"%s\", field \"%s\", text \"%s\"", bad->path,
                     bad->value == NULL ? "(removed)" : bad->value, err_name(e), info.code, info.field, info.text);
        if (e != ERR_OK) {
            assert_true(strncmp(info.text, "manifest.json: ", 15) == 0);
            assert_null(m);
        }
    }
}

#define REFUSE(base, list) refuse(base, list, sizeof(list) / sizeof(list)[0])

static void bad_ones_are_refused(void **state)
{
    (void)state;
    REFUSE(good, bad_models);
    REFUSE(good_app, bad_apps);
    REFUSE(good_unit, bad_units);
    REFUSE(good_agent, bad_agents);
    REFUSE(good_test, bad_tests);
}

static void bytes_that_are_no_manifest_are_refused(void **state)
{
    (void)state;
    cleanup_manifest struct manifest *m = NULL;
    struct err_info info = {0};
    assert_int_equal(manifest_parse("", 0, &m, &info), ERR_INVALID);
    assert_string_equal(info.code, "manifest_invalid");
    assert_int_equal(manifest_parse("[]", 2, &m, NULL), ERR_INVALID);
    assert_int_equal(manifest_parse("{\"a\":1,\"a\":2}", 13, &m, NULL), ERR_INVALID);
    for (size_t len = 0; len < strlen(good); len++)
        assert_int_equal(manifest_parse(good, len, &m, NULL), ERR_INVALID);
    cleanup_free char *large = malloc(MANIFEST_BYTES_MAX + 1);
    assert_non_null(large);
    memset(large, ' ', MANIFEST_BYTES_MAX + 1);
    memcpy(large, good, strlen(good));
    assert_int_equal(manifest_parse(large, MANIFEST_BYTES_MAX + 1, &m, &info), ERR_INVALID);
    assert_null(m);
    assert_int_equal(manifest_parse(large, MANIFEST_BYTES_MAX, &m, NULL), ERR_OK);
}

static void versions(void **state)
{
    (void)state;
    /* From semver.org's own list of valid and invalid versions. */
    static const char *const valid[] = {"0.0.4",
                                        "1.2.3",
                                        "10.20.30",
                                        "1.1.2-prerelease+meta",
                                        "1.1.2+meta",
                                        "1.0.0-alpha",
                                        "1.0.0-alpha.beta.1",
                                        "1.0.0-alpha0.valid",
                                        "1.0.0-alpha.0valid",
                                        "1.0.0-rc.1+build.1",
                                        "2.0.0+build.1848",
                                        "1.2.3----RC-SNAPSHOT.12.9.1--.12",
                                        "1.0.0+0.build.1-rc.10000aaa-kk-0.1",
                                        "1.0.0-0A.is.legal",
                                        "1.0.0+001"};
    static const char *const invalid[] = {"",
                                          "1",
                                          "1.2",
                                          "1.2.3-0123",
                                          "1.2.3-0123.0123",
                                          "1.1.2+.123",
                                          "+invalid",
                                          "-invalid",
                                          "alpha",
                                          "1.0.0-alpha_beta",
                                          "1.0.0-alpha..",
                                          "01.1.1",
                                          "1.01.1",
                                          "1.1.01",
                                          "1.2.3.DEV",
                                          "1.2-SNAPSHOT",
                                          "1.1.2+meta+meta",
                                          "v1.2.3",
                                          "1.2.3 ",
                                          "9.8.7+meta+meta",
                                          "1.2.3-",
                                          "1.2.3+"};
    for (size_t i = 0; i < sizeof valid / sizeof valid[0]; i++)
        if (!manifest_version_ok(valid[i]))
            fail_msg("\"%s\" is valid", valid[i]);
    for (size_t i = 0; i < sizeof invalid / sizeof invalid[0]; i++)
        if (manifest_version_ok(invalid[i]))
            fail_msg("\"%s\" is not valid", invalid[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_one_is_read),
        cmocka_unit_test(apps_agents_and_tests_are_read),
        cmocka_unit_test(requirements_are_read),
        cmocka_unit_test(bad_ones_are_refused),
        cmocka_unit_test(bytes_that_are_no_manifest_are_refused),
        cmocka_unit_test(versions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
