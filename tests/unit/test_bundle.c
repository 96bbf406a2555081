/* Bundles: create, sign with several keys, verify, extract, inspect. */
#include "tests/unit/bundle_kit.h"

#include <sys/wait.h>

static void assert_file(const struct kit *k, const char *name, const char *text, mode_t mode)
{
    char path[160];
    cleanup_free char *found = NULL;
    struct stat st;
    assert_int_equal(file_read(kit_path(k, name, path), 65536, &found, NULL), ERR_OK);
    assert_string_equal(found, text);
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | mode);
}

static void round_trip(void **state)
{
    (void)state;
    cleanup_kit struct kit k;
    kit_start(&k);
    char path[160];
    char id[MINISIG_ID_TEXT];
    cleanup_manifest struct manifest *made = kit_create(&k, "b.mub");
    assert_int_equal(made->payload_count, 2);
    assert_int_equal(bundle_sign(kit_path(&k, "b.mub", path), &k.key, NULL), ERR_OK);

    struct bundle_keys keys;
    cleanup_manifest struct manifest *m = NULL;
    cleanup_fd int fd = kit_open(&k, "b.mub");
    cleanup_fd int out = kit_open(&k, "out");
    assert_int_equal(bundle_extract(fd, &k.trust, NULL, out, &m, &keys, NULL), ERR_OK);
    minisig_id_text(k.key.id, id);
    assert_int_equal(keys.count, 1);
    assert_string_equal(keys.ids[0], id);
    assert_string_equal(m->id, made->id);
    assert_file(&k, "out/model.onnx", "weights", 0444);
    assert_file(&k, "out/copy/of/model.onnx", "weights", 0444);
    assert_file(&k, "out/bin/run", "#!/bin/sh\n", 0555);
    assert_file(&k, "out/manifest.json", made->raw, 0444);
    assert_int_equal(kit_count(&k, "out"), 5); /* model.onnx bin copy manifest.json and one signature */
    struct stat one;
    struct stat two;
    assert_int_equal(stat(kit_path(&k, "out/model.onnx", path), &one), 0);
    assert_int_equal(stat(kit_path(&k, "out/copy/of/model.onnx", path), &two), 0);
    assert_int_equal(one.st_ino, two.st_ino);
}

static void equal_input_makes_equal_bytes(void **state)
{
    (void)state;
    cleanup_kit struct kit k;
    kit_start(&k);
    char path[160];
    char sha256[2][SHA256_HEX];
    for (int i = 0; i < 2; i++) {
        int64_t size = 0;
        struct manifest *m = kit_create(&k, "b.mub");
        m = manifest_free(m);
        assert_int_equal(bundle_sign(kit_path(&k, "b.mub", path), &k.key, NULL), ERR_OK);
        cleanup_fd int fd = kit_open(&k, "b.mub");
        assert_int_equal(sha256_fd(fd, sha256[i], &size), ERR_OK);
    }
    assert_string_equal(sha256[0], sha256[1]);
    assert_int_equal(kit_count(&k, "."), 4); /* b.mub model run out: nothing temporary */
}

static void several_keys_sign(void **state)
{
    (void)state;
    cleanup_kit struct kit k;
    kit_start(&k);
    char path[160];
    struct minisig_secret second;
    struct minisig_public second_public;
    struct err_info info = {0};
    assert_int_equal(minisig_generate(&second, &second_public), ERR_OK);
    struct manifest *created = kit_create(&k, "b.mub");
    created = manifest_free(created);
    (void)kit_path(&k, "b.mub", path);
    assert_int_equal(bundle_sign(path, &second, NULL), ERR_OK);
    assert_int_equal(bundle_sign(path, &k.key, NULL), ERR_OK);
    assert_int_equal(bundle_sign(path, &k.key, &info), ERR_CONFLICT);
    assert_string_equal(info.code, "already_signed");

    struct bundle_keys keys;
    cleanup_fd int fd = kit_open(&k, "b.mub");
    struct manifest *m = NULL;
    assert_int_equal(bundle_verify(fd, &k.trust, &m, &keys, NULL), ERR_OK);
    m = manifest_free(m);
    assert_int_equal(keys.count, 1); /* only the trusted one counts */
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    k.trust.keys[k.trust.count++] = second_public;
    assert_int_equal(bundle_verify(fd, &k.trust, &m, &keys, NULL), ERR_OK);
    m = manifest_free(m);
    assert_int_equal(keys.count, 2);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_int_equal(bundle_inspect(fd, NULL, &m, &keys, NULL, NULL), ERR_OK);
    m = manifest_free(m);
    assert_int_equal(keys.count, 2);
}

/* NAME signed by two keys; keys[1] is not the kit's. */
static void sign_twice(struct kit *k, const char *name, struct minisig_secret *ret_second,
                       struct minisig_public *ret_public)
{
    char path[160];
    struct manifest *m = kit_create(k, name);
    m = manifest_free(m);
    (void)kit_path(k, name, path);
    assert_int_equal(minisig_generate(ret_second, ret_public), ERR_OK);
    assert_int_equal(bundle_sign(path, &k->key, NULL), ERR_OK);
    assert_int_equal(bundle_sign(path, ret_second, NULL), ERR_OK);
}

static enum err verify_with(const struct kit *k, const char *name, size_t required, struct bundle_keys *ret_keys,
                            struct err_info *info)
{
    struct trust trust = k->trust;
    cleanup_manifest struct manifest *m = NULL;
    cleanup_fd int fd = kit_open(k, name);
    trust.required = required;
    return bundle_verify(fd, &trust, &m, ret_keys, info);
}

static void as_many_keys_as_required(void **state)
{
    (void)state;
    cleanup_kit struct kit k;
    struct minisig_secret second;
    struct minisig_public second_public;
    struct bundle_keys keys;
    struct err_info info = {0};
    kit_start(&k);
    sign_twice(&k, "b.mub", &second, &second_public);
    assert_int_equal(verify_with(&k, "b.mub", 0, &keys, NULL), ERR_OK); /* 0 is not "nobody has to sign" */
    assert_int_equal(verify_with(&k, "b.mub", 1, &keys, NULL), ERR_OK);
    assert_int_equal(verify_with(&k, "b.mub", 2, &keys, &info), ERR_UNTRUSTED); /* a stranger does not count */
    assert_string_equal(info.code, "signature_untrusted");
    assert_non_null(strstr(info.text, "1 missing"));
    k.trust.keys[k.trust.count++] = second_public;
    assert_int_equal(verify_with(&k, "b.mub", 2, &keys, NULL), ERR_OK);
    assert_int_equal(keys.count, 2);
    assert_int_equal(verify_with(&k, "b.mub", 4, &keys, &info), ERR_UNTRUSTED);
    assert_non_null(strstr(info.text, "2 missing"));
}

/* An id is only a name in a file: who holds one key may write two files. */
static void one_key_under_two_names_counts_once(void **state)
{
    (void)state;
    cleanup_kit struct kit k;
    struct bundle_keys keys;
    struct err_info info = {0};
    char path[160];
    kit_start(&k);
    struct minisig_secret alias = k.key;
    alias.id[0] ^= 1;
    k.trust.keys[k.trust.count] = k.trust.keys[0];
    k.trust.keys[k.trust.count++].id[0] ^= 1;
    struct manifest *m = kit_create(&k, "b.mub");
    m = manifest_free(m);
    (void)kit_path(&k, "b.mub", path);
    assert_int_equal(bundle_sign(path, &k.key, NULL), ERR_OK);
    assert_int_equal(bundle_sign(path, &alias, NULL), ERR_OK);
    assert_int_equal(verify_with(&k, "b.mub", 1, &keys, NULL), ERR_OK);
    assert_int_equal(keys.count, 1);
    assert_int_equal(verify_with(&k, "b.mub", 2, &keys, &info), ERR_UNTRUSTED);
    assert_non_null(strstr(info.text, "1 missing"));
}

/* Text shrinks, noise does not; what does not shrink travels as it is. */
static void compressed_files(void **state)
{
    (void)state;
    cleanup_kit struct kit k;
    char text_path[160];
    char noise_path[160];
    char path[160];
    cleanup_free char *text = calloc(1, 400001);
    cleanup_free char *noise = malloc(70000);
    assert_true(text != NULL && noise != NULL);
    for (size_t i = 0; i < 400000; i++)
        text[i] = (char)('a' + i / 1000 % 7 + i % 13);
    assert_int_equal(random_bytes(noise, 70000), ERR_OK);
    kit_start(&k);
    kit_put(&k, "text", text, 400000);
    kit_put(&k, "noise", noise, 70000);
    const struct bundle_file files[] = {{kit_path(&k, "text", text_path), "text", false, true},
                                        {kit_path(&k, "noise", noise_path), "noise", true, true},
                                        {text_path, "again", false, true}};
    json_auto_t *head = json_pack("{s:s, s:s, s:s, s:i, s:{}}", "kind", "app", "name", "texts", "version", "1.0.0",
                                  "release_counter", 1, "app");
    struct manifest *m = NULL;
    (void)kit_path(&k, "c.mub", path);
    assert_int_equal(bundle_create(head, files, 3, 0, path, &m, NULL), ERR_OK);
    assert_int_equal(m->payload_count, 2);
    assert_int_equal(m->payload[0].encoding, MANIFEST_ZSTD);
    assert_true(m->payload[0].size < 10000);
    assert_int_equal(m->payload[1].encoding, MANIFEST_RAW);
    assert_int_equal(m->files[1].mode, 0555);
    m = manifest_free(m);
    assert_int_equal(kit_count(&k, "."), 6); /* model run out text noise c.mub */
    assert_int_equal(bundle_sign(path, &k.key, NULL), ERR_OK);
    assert_int_equal(verify_with(&k, "c.mub", 1, NULL, NULL), ERR_OK);
    cleanup_fd int fd = kit_open(&k, "c.mub");
    cleanup_fd int out = kit_open(&k, "out");
    assert_int_equal(bundle_extract(fd, &k.trust, NULL, out, &m, NULL, NULL), ERR_OK);
    m = manifest_free(m);
    cleanup_free char *found = NULL;
    size_t len = 0;
    assert_int_equal(file_read(kit_path(&k, "out/again", path), 1 << 20, &found, &len), ERR_OK);
    assert_int_equal(len, 400000);
    assert_memory_equal(found, text, len);
}

static void unsigned_is_inspected_but_not_verified(void **state)
{
    (void)state;
    cleanup_kit struct kit k;
    kit_start(&k);
    struct bundle_keys keys;
    struct err_info info = {0};
    struct manifest *m = kit_create(&k, "b.mub");
    m = manifest_free(m);
    cleanup_fd int fd = kit_open(&k, "b.mub");
    assert_int_equal(bundle_inspect(fd, NULL, &m, &keys, NULL, NULL), ERR_OK);
    assert_string_equal(m->slot, "digits");
    assert_int_equal(keys.count, 0);
    m = manifest_free(m);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_int_equal(bundle_verify(fd, &k.trust, &m, &keys, &info), ERR_UNTRUSTED);
    assert_string_equal(info.code, "signature_untrusted");
    assert_true(info.next[0] != '\0');
    assert_null(m);
}

/* The device reads from a download, not from a file it can seek in. */
static void a_pipe_will_do(void **state)
{
    (void)state;
    cleanup_kit struct kit k;
    kit_start(&k);
    char path[160];
    struct manifest *m = kit_create(&k, "b.mub");
    m = manifest_free(m);
    assert_int_equal(bundle_sign(kit_path(&k, "b.mub", path), &k.key, NULL), ERR_OK);
    cleanup_free char *bytes = NULL;
    size_t len = 0;
    assert_int_equal(file_read(path, 1 << 20, &bytes, &len), ERR_OK);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(ends[0]);
        enum err e = ERR_OK;
        for (size_t i = 0; e == ERR_OK && i < len; i += 7) /* small pieces across every boundary */
            e = file_write_fd(ends[1], bytes + i, len - i < 7 ? len - i : 7);
        _exit(e == ERR_OK ? 0 : 1);
    }
    (void)close(ends[1]);
    cleanup_fd int in = ends[0];
    assert_int_equal(bundle_verify(in, &k.trust, &m, NULL, NULL), ERR_OK);
    m = manifest_free(m);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void bad_sources_make_no_bundle(void **state)
{
    (void)state;
    cleanup_kit struct kit k;
    kit_start(&k);
    char out[160];
    char model[160];
    struct manifest *m = NULL;
    struct err_info info = {0};
    (void)kit_path(&k, "b.mub", out);
    (void)kit_path(&k, "model", model);
    json_auto_t *head = json_pack("{s:s, s:s, s:s, s:i, s:{}}", "kind", "app", "name", "digits", "version", "1.0.0",
                                  "release_counter", 1, "app");
    const struct bundle_file missing = {"/nonexistent/model", "model.onnx", false, false};
    const struct bundle_file folder = {k.path, "model.onnx", false, false};
    const struct bundle_file escape = {model, "../model.onnx", false, false};
    const struct bundle_file fine = {model, "model.onnx", false, false};
    assert_int_equal(bundle_create(head, &missing, 1, 0, out, &m, &info), ERR_NOT_FOUND);
    assert_non_null(strstr(info.text, "/nonexistent/model"));
    assert_int_equal(bundle_create(head, &folder, 1, 0, out, &m, NULL), ERR_INVALID);
    assert_int_equal(bundle_create(head, &escape, 1, 0, out, &m, &info), ERR_INVALID);
    assert_string_equal(info.code, "manifest_invalid");
    assert_int_equal(bundle_create(head, &fine, 1, 0, "/nonexistent/b.mub", &m, &info), ERR_NOT_FOUND);
    assert_int_equal(json_object_set_new(head, "version", json_string("one")), 0);
    assert_int_equal(bundle_create(head, &fine, 1, 0, out, &m, &info), ERR_INVALID);
    assert_string_equal(info.field, "version");
    assert_null(m);
    assert_int_equal(kit_count(&k, "."), 3); /* model run out */
}

static void a_full_directory_is_left_alone(void **state)
{
    (void)state;
    cleanup_kit struct kit k;
    kit_start(&k);
    char path[160];
    struct manifest *m = kit_create(&k, "b.mub");
    m = manifest_free(m);
    assert_int_equal(bundle_sign(kit_path(&k, "b.mub", path), &k.key, NULL), ERR_OK);
    assert_int_equal(mkdir(kit_path(&k, "out/bin", path), 0755), 0);
    kit_put(&k, "out/bin/run", "mine", 4);
    cleanup_fd int fd = kit_open(&k, "b.mub");
    cleanup_fd int out = kit_open(&k, "out");
    struct err_info info = {0};
    assert_int_equal(bundle_extract(fd, &k.trust, NULL, out, &m, NULL, &info), ERR_CONFLICT);
    assert_non_null(strstr(info.text, "bin/run"));
    assert_file(&k, "out/bin/run", "mine", 0644);
    assert_int_equal(kit_count(&k, "out"), 1);
}

static void a_link_in_the_way_is_not_followed(void **state)
{
    (void)state;
    cleanup_kit struct kit k;
    kit_start(&k);
    char path[160];
    char link[160];
    struct manifest *m = kit_create(&k, "b.mub");
    m = manifest_free(m);
    assert_int_equal(bundle_sign(kit_path(&k, "b.mub", path), &k.key, NULL), ERR_OK);
    assert_int_equal(mkdir(kit_path(&k, "outside", path), 0755), 0);
    assert_int_equal(symlink(path, kit_path(&k, "out/copy", link)), 0);
    cleanup_fd int fd = kit_open(&k, "b.mub");
    cleanup_fd int out = kit_open(&k, "out");
    assert_int_not_equal(bundle_extract(fd, &k.trust, NULL, out, &m, NULL, NULL), ERR_OK);
    assert_int_equal(kit_count(&k, "outside"), 0);
    assert_int_equal(kit_count(&k, "out"), 1);
    assert_null(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(equal_input_makes_equal_bytes),
        cmocka_unit_test(several_keys_sign),
        cmocka_unit_test(as_many_keys_as_required),
        cmocka_unit_test(one_key_under_two_names_counts_once),
        cmocka_unit_test(compressed_files),
        cmocka_unit_test(unsigned_is_inspected_but_not_verified),
        cmocka_unit_test(a_pipe_will_do),
        cmocka_unit_test(bad_sources_make_no_bundle),
        cmocka_unit_test(a_full_directory_is_left_alone),
        cmocka_unit_test(a_link_in_the_way_is_not_followed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
