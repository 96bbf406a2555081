/* muster-infer without its process: the real digits model in ONNX Runtime, what is counted, and every refusal. */
#include "agent/infer/service.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "common/bundle/bundle.h"
#include "common/infer/model.h"
#include "common/wire/histogram.h"
#include "common/wire/profile.h"
#include "tests/unit/unit.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define DATA "packaging/demo/data/"
#define MODEL DATA "cnn_v1.onnx"
#define CLEAN DATA "digits_test_16x16_f32.bin"
#define SHIFTED DATA "digits_test_shifted_16x16_f32.bin"

enum { IMAGES = 540, PIXELS = 256, CLASSES = 10 };

struct folder {
    char path[40];
};

static const char *in(const struct folder *f, const char *name, char path[120])
{
    (void)snprintf(path, 120, "%s/%s", f->path, name);
    return path;
}

static int setup(void **state)
{
    struct folder *f = calloc(1, sizeof *f);
    assert_non_null(f);
    (void)snprintf(f->path, sizeof f->path, "/tmp/muster-unit-XXXXXX");
    assert_non_null(mkdtemp(f->path));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct folder *f = *state;
    assert_int_equal(file_remove_tree(f->path), ERR_OK);
    free(f);
    return 0;
}

/* manifest.json of a bundle that holds the model, written by the bundle's own code. shape: JSON; profile: or NULL. */
static void manifest_put(const struct folder *f, const char *model, const char *inputs, const json_t *profile)
{
    char bundle[120];
    char path[120];
    json_t *head =
        json_pack("{s:s, s:s, s:s, s:i, s:{s:s, s:o}}", "kind", "model", "name", "digits", "version", "1.0.0",
                  "release_counter", 1, "model", "file", "model.onnx", "inputs", json_loads(inputs, 0, NULL));
    assert_non_null(head);
    if (profile != NULL)
        assert_int_equal(json_object_set(head, "profile", (json_t *)profile), 0);
    struct manifest *m = NULL;
    struct err_info info = {0};
    const struct bundle_file file = {model, "model.onnx", false, false};
    enum err e = bundle_create(head, &file, 1, 1764000000000, in(f, "bundle.mub", bundle), &m, &info);
    json_decref(head);
    if (e != ERR_OK)
        fail_msg("bundle_create: %s", info.text);
    assert_int_equal(file_write(in(f, "manifest.json", path), m->raw, m->raw_len, 0644), ERR_OK);
    (void)manifest_free(m);
}

#define DIGITS_INPUT "[{\"name\":\"input\",\"type\":\"float32\",\"shape\":[-1,1,16,16]}]"

static json_t *ask(struct service *s, const char *request)
{
    char *answer = service_answer(s, request, strlen(request));
    assert_non_null(answer);
    assert_null(strchr(answer, '\n'));
    json_t *json = json_loads(answer, 0, NULL);
    assert_non_null(json);
    free(answer);
    return json;
}

static struct service *serve(const char *manifest, const char *source)
{
    struct service *s = NULL;
    struct err_info info = {0};
    const struct service_settings settings = {
        .model = MODEL, .manifest = manifest, .source = source, .onnxruntime = ""};
    if (service_open(&settings, &s, &info) != ERR_OK)
        fail_msg("service_open: %s; %s", info.text, info.next);
    return s;
}

/* ---------------------------------------------------------------- the model is right */

static void test_logits(void **state)
{
    (void)state;
    struct runtime runtime;
    struct err_info info = {0};
    if (runtime_open("", &runtime, &info) != ERR_OK)
        fail_msg("%s; %s", info.text, info.next);
    cleanup_free char *images = NULL;
    size_t len = 0;
    assert_int_equal(file_read(CLEAN, 1 << 20, &images, &len), ERR_OK);
    assert_int_equal(len, IMAGES * PIXELS * sizeof(float));
    cleanup_file FILE *expected = fopen(DATA "expected_logits_cnn_v1.csv", "re");
    assert_non_null(expected);

    cleanup_model struct model *m = NULL;
    static const struct model_spec spec = {0};
    assert_int_equal(model_load(&runtime, MODEL, &spec, &m, &info), ERR_OK);
    assert_int_equal(model_input_len(m), PIXELS);
    assert_string_equal(model_input_shape(m), "1x1x16x16");
    for (size_t i = 0; i < IMAGES; i++) {
        const float *logits = NULL;
        size_t classes = 0;
        memcpy(model_input(m), images + i * PIXELS * sizeof(float), PIXELS * sizeof(float));
        assert_int_equal(model_run(m, &info), ERR_OK);
        assert_int_equal(model_output(m, 0, &logits, &classes), ERR_OK);
        assert_int_equal(classes, CLASSES);
        for (size_t k = 0; k < CLASSES; k++) {
            double want = NAN;
            assert_int_equal(fscanf(expected, k == 0 ? "%lf" : ",%lf", &want), 1);
            assert_true(fabs((double)logits[k] - want) < 1e-3);
        }
    }
    const float *none = NULL;
    assert_int_equal(model_output(m, 1, &none, &len), ERR_NOT_FOUND);
    m = model_free(m);
    runtime_close(&runtime);
}

/* ---------------------------------------------------------------- what is counted */

static void test_state(void **state)
{
    (void)state;
    cleanup_service struct service *s = serve("", "");
    assert_int_equal(service_samples(s), 0);
    json_auto_t *answer = ask(s, "{\"op\":\"state\"}");
    cleanup_free char *bytes = NULL;
    size_t len = 0;
    char sha256[SHA256_HEX];
    assert_int_equal(file_read(MODEL, 8 << 20, &bytes, &len), ERR_OK);
    assert_int_equal(sha256_hex(bytes, len, sha256), ERR_OK);
    assert_true(json_is_true(json_object_get(answer, "ready")));
    assert_string_equal(json_text_or_null(answer, "model_sha256"), sha256);
    assert_int_equal(strncmp(json_text_or_null(answer, "runtime"), "1.", 2), 0);
    assert_true(json_is_number(json_object_get(answer, "load_ms")));
    int64_t rss = 0;
    assert_int_equal(json_get_id(answer, "rss", 1 << 20, &rss, NULL), ERR_OK);
}

static void test_bad_requests(void **state)
{
    (void)state;
    cleanup_service struct service *s = serve("", CLEAN);
    service_infer(s, 0, 1);
    static const char *const bad[] = {"",        "x", "[]", "{}", "{\"op\":1}", "{\"op\":\"stop\"}", "{\"op\":\"take\"",
                                      "\"take\""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_auto_t *answer = ask(s, bad[i]);
        assert_non_null(json_text_or_null(answer, "error"));
    }
    json_auto_t *taken = ask(s, "{\"op\":\"take\"}"); /* and none of them took the counts */
    assert_string_equal(json_text_or_null(taken, "count"), "1");
}

static void test_take(void **state)
{
    const struct folder *f = *state;
    char path[120];
    json_auto_t *profile = NULL;
    cleanup_free char *images = NULL;
    size_t len = 0;
    assert_int_equal(file_read(CLEAN, 1 << 20, &images, &len), ERR_OK);
    cleanup_free float *floats = malloc(len);
    assert_non_null(floats);
    memcpy(floats, images, len);
    cleanup_profile struct profile *reference = NULL;
    assert_int_equal(profile_build(floats, IMAGES, PIXELS, &reference, NULL), ERR_OK);
    profile = profile_to_json(reference);
    manifest_put(f, MODEL, DIGITS_INPUT, profile);

    static const char *const sources[] = {CLEAN, SHIFTED};
    for (size_t k = 0; k < 2; k++) {
        cleanup_service struct service *s = serve(in(f, "manifest.json", path), sources[k]);
        assert_int_equal(service_samples(s), IMAGES);
        for (int64_t i = 0; i < IMAGES; i++)
            service_infer(s, i + IMAGES, i == 7 ? 3 : 1); /* numbers go round */
        json_auto_t *taken = ask(s, "{\"op\":\"take\"}");
        assert_string_equal(json_text_or_null(taken, "count"), "540");
        assert_string_equal(json_text_or_null(taken, "errors"), "0");
        assert_int_equal(json_integer_value(json_object_get(taken, "queue_max")), 3);
        assert_true(json_integer_value(json_object_get(taken, "window_ms")) > 0);
        struct histogram latency;
        assert_int_equal(histogram_from_json(json_object_get(taken, "hist"), &latency, NULL), ERR_OK);
        assert_int_equal(histogram_count(&latency), IMAGES);
        assert_true(histogram_quantile_us(&latency, 0.5) > 10);

        const json_t *features = json_object_get(taken, "features");
        assert_int_equal(json_array_size(features), FEATURE_COUNT_);
        bool drifted = false;
        for (size_t i = 0; i < FEATURE_COUNT_; i++) {
            const json_t *feature = json_array_get(features, i);
            const struct profile_feature *r = profile_find(reference, json_text_or_null(feature, "name"));
            assert_non_null(r);
            uint64_t counts[PROFILE_COUNTERS];
            assert_int_equal(profile_counts_from_json(json_object_get(feature, "counts"), counts, NULL), ERR_OK);
            struct drift_score score = profile_score(r->counts, counts);
            assert_int_equal(score.samples, IMAGES);
            drifted = drifted || score.drifted;
            if (k == 0)
                assert_memory_equal(counts, r->counts, sizeof counts);
        }
        assert_int_equal(drifted, k == 1);

        json_auto_t *empty = ask(s, "{\"op\":\"take\"}");
        assert_string_equal(json_text_or_null(empty, "count"), "0");
        assert_int_equal(json_integer_value(json_object_get(empty, "queue_max")), 0);
        assert_int_equal(json_array_size(json_object_get(json_object_get(empty, "hist"), "counts")), 0);
    }
}

static void test_errors_are_counted(void **state)
{
    const struct folder *f = *state;
    char path[120];
    static float samples[2 * PIXELS];
    samples[3] = NAN; /* an output that is not finite */
    assert_int_equal(file_write(in(f, "source", path), samples, sizeof samples, 0644), ERR_OK);
    cleanup_service struct service *s = serve("", path);
    service_infer(s, 0, 1);
    service_infer(s, 1, 1);
    json_auto_t *taken = ask(s, "{\"op\":\"take\"}");
    assert_string_equal(json_text_or_null(taken, "count"), "2");
    assert_string_equal(json_text_or_null(taken, "errors"), "1");

    assert_int_equal(truncate(path, 4), 0);
    service_infer(s, 1, 1);
    json_auto_t *again = ask(s, "{\"op\":\"take\"}");
    assert_string_equal(json_text_or_null(again, "count"), "1");
    assert_string_equal(json_text_or_null(again, "errors"), "1");
}

/* ---------------------------------------------------------------- refusals */

static void refuse(const struct service_settings *settings, enum err want, const char *code, const char *text)
{
    struct service *s = NULL;
    struct err_info info = {0};
    enum err e = service_open(settings, &s, &info);
    if (e != want || strstr(info.text, text) == NULL || !text_eq(info.code, code))
        fail_msg("%s [%s] %s; wanted %s [%s] ...%s...", err_name(e), info.code, info.text, err_name(want), code, text);
    assert_null(s);
    assert_null(strchr(info.text, '\n'));
}

static void test_refusals(void **state)
{
    const struct folder *f = *state;
    char path[120];
    char manifest[120];
    const struct service_settings good = {.model = MODEL, .manifest = "", .source = CLEAN, .onnxruntime = ""};
    struct service_settings s = good;
    s.onnxruntime = "/nowhere/libonnxruntime.so.1";
    refuse(&s, ERR_NOT_FOUND, "runtime_missing", "/nowhere/libonnxruntime.so.1");
    s.onnxruntime = "libcrypto.so.3";
    refuse(&s, ERR_UNSUPPORTED, "runtime_unfit", "not ONNX Runtime");

    s = good;
    s.model = "/nowhere/model.onnx";
    refuse(&s, ERR_NOT_FOUND, "", "model /nowhere/model.onnx: cannot be read");
    s.model = CLEAN;
    refuse(&s, ERR_INVALID, "", "ONNX Runtime cannot load it");
    assert_int_equal(file_write(in(f, "empty", path), "", 0, 0644), ERR_OK);
    s.model = path;
    refuse(&s, ERR_INVALID, "", "ONNX Runtime cannot load it");

    s = good;
    s.source = "/nowhere/source";
    refuse(&s, ERR_NOT_FOUND, "", "source /nowhere/source");
    s.source = DATA "digits_test_u8.bin";
    refuse(&s, ERR_INVALID, "",
           "35116 bytes, not a whole number of samples of 1024 bytes; the model's input is 1x1x16x16");
    s.source = path;
    refuse(&s, ERR_INVALID, "", "0 bytes");
    s.source = "/tmp";
    refuse(&s, ERR_INVALID, "", "a regular file is expected");

    s = good;
    s.manifest = "/nowhere/manifest.json";
    refuse(&s, ERR_NOT_FOUND, "", "manifest /nowhere/manifest.json");
    s.manifest = in(f, "manifest.json", manifest);
    assert_int_equal(file_write(manifest, "{}", 2, 0644), ERR_OK);
    refuse(&s, ERR_INVALID, "", "manifest.json: ");
    manifest_put(f, MODEL, "[{\"name\":\"input\",\"type\":\"float32\",\"shape\":[-1,1,8,8]}]", NULL);
    refuse(&s, ERR_INVALID, "", "its input is ?x1x16x16, the manifest says ?x1x8x8");
    manifest_put(f, MODEL, "[{\"name\":\"input\",\"type\":\"uint8\",\"shape\":[-1,1,16,16]}]", NULL);
    refuse(&s, ERR_UNSUPPORTED, "", "only float32 works");
    manifest_put(f, DATA "cnn_v2_ft_long.onnx", DIGITS_INPUT, NULL); /* signed for other bytes */
    refuse(&s, ERR_CORRUPT, "", "its SHA-256 is ");
}

int main(void)
{
    json_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_state),
        cmocka_unit_test(test_bad_requests),
        cmocka_unit_test_setup_teardown(test_take, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors_are_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
