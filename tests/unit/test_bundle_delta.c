/* Delta bundles: made from two bundles, extracted with the files of the old one, and refused in every other way. */
#include "common/delta/delta.h"
#include "tests/unit/bundle_kit.h"

#include <sys/mman.h>

enum { MODEL = 60000, NOISE = 3000 };

/* Two versions of an app: big changes a little, kept stays, fresh has nothing like it, gone goes, moved gets a new
 * name. */
struct pair {
    struct kit kit;
    struct bundle_delta_report report;
    int olds; /* directory of the old version's files */
};

static void noise(char *bytes, size_t len, uint32_t seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1664525u + 1013904223u;
        bytes[i] = (char)(seed >> 24);
    }
}

static void sources_put(const struct pair *p)
{
    cleanup_free char *big = malloc(MODEL);
    char small[NOISE];
    char path[160];
    assert_non_null(big);
    assert_int_equal(mkdir(kit_path(&p->kit, "one", path), 0755), 0);
    assert_int_equal(mkdir(kit_path(&p->kit, "two", path), 0755), 0);
    noise(big, MODEL, 1);
    kit_put(&p->kit, "one/big", big, MODEL);
    kit_put(&p->kit, "two/moved", big, MODEL);
    for (size_t i = 1000; i < 1020; i++)
        big[i] = (char)(big[i] + 1);
    kit_put(&p->kit, "two/big", big, MODEL);
    noise(small, NOISE, 2);
    kit_put(&p->kit, "one/kept", small, NOISE);
    kit_put(&p->kit, "two/kept", small, NOISE);
    noise(small, NOISE, 3);
    kit_put(&p->kit, "two/fresh", small, NOISE);
    kit_put(&p->kit, "one/gone", "gone", 4);
    kit_put(&p->kit, "two/empty", "", 0);
}

static void version_make(const struct pair *p, const char *where, int counter, const char *const *names, size_t count)
{
    char paths[8][160];
    char out[160];
    char version[16];
    char name[64];
    struct bundle_file files[8] = {0};
    struct err_info info = {0};
    (void)snprintf(version, sizeof version, "%d.0.0", counter);
    json_auto_t *head = json_pack("{s:s, s:s, s:s, s:i, s:{}}", "kind", "app", "name", "pair", "version", version,
                                  "release_counter", counter, "app");
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(name, sizeof name, "%s/%s", where, names[i]);
        files[i] = (struct bundle_file){.source = kit_path(&p->kit, name, paths[i]), .path = names[i]};
    }
    struct manifest *m = NULL;
    (void)snprintf(name, sizeof name, "%s.mub", where);
    enum err e = bundle_create(head, files, count, 1000, kit_path(&p->kit, name, out), &m, &info);
    if (e != ERR_OK)
        fail_msg("%s", info.text);
    m = manifest_free(m);
    assert_int_equal(bundle_sign(out, &p->kit.key, NULL), ERR_OK);
}

static enum err delta_between(const struct kit *k, const char *old, const char *new, const char *out,
                              struct bundle_delta_report *ret_report, struct err_info *info)
{
    char path[160];
    const struct delta_options options = {.effort = DELTA_FAST, .threads = 1};
    cleanup_fd int old_fd = kit_open(k, old);
    cleanup_fd int new_fd = kit_open(k, new);
    return bundle_delta(old_fd, new_fd, &options, k->path, kit_path(k, out, path), ret_report, info);
}

static void pair_start(struct pair *p)
{
    char path[160];
    struct manifest *m = NULL;
    struct err_info info = {0};
    kit_start(&p->kit);
    sources_put(p);
    version_make(p, "one", 1, (const char *const[]){"big", "kept", "gone"}, 3);
    version_make(p, "two", 2, (const char *const[]){"big", "moved", "kept", "fresh", "empty"}, 5);
    if (delta_between(&p->kit, "one.mub", "two.mub", "d.mub", &p->report, &info) != ERR_OK)
        fail_msg("bundle_delta: %s: %s", info.code, info.text);
    assert_int_equal(mkdir(kit_path(&p->kit, "olds", path), 0755), 0);
    p->olds = kit_open(&p->kit, "olds");
    cleanup_fd int fd = kit_open(&p->kit, "one.mub");
    assert_int_equal(bundle_extract(fd, &p->kit.trust, NULL, p->olds, &m, NULL, NULL), ERR_OK);
    m = manifest_free(m);
}

static void pair_end(struct pair *p)
{
    (void)close(p->olds);
    kit_end(&p->kit);
}
#define cleanup_pair [[gnu::cleanup(pair_end)]]

/* As an object store does it: by digest. */
static enum err old_open(void *user, const char *sha256, int *ret_fd, struct err_info *info)
{
    const struct pair *p = user;
    static const char *const names[] = {"big", "kept", "gone"};
    for (size_t i = 0; i < 3; i++) {
        char found[SHA256_HEX];
        int64_t size = 0;
        int fd = openat(p->olds, names[i], O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && sha256_fd(fd, found, &size) == ERR_OK && strcmp(found, sha256) == 0) {
            *ret_fd = fd;
            return ERR_OK;
        }
        if (fd >= 0)
            (void)close(fd);
    }
    return err_set(info, ERR_NOT_FOUND, "no such object");
}

/* Gives big for whatever is asked. */
static enum err old_wrong(void *user, const char *sha256, int *ret_fd, struct err_info *info)
{
    const struct pair *p = user;
    (void)sha256;
    (void)info;
    *ret_fd = openat(p->olds, "kept", O_RDONLY | O_CLOEXEC);
    return *ret_fd < 0 ? ERR_IO : ERR_OK;
}

static enum err old_unreadable(void *user, const char *sha256, int *ret_fd, struct err_info *info)
{
    (void)user;
    (void)sha256;
    (void)ret_fd;
    return err_set(info, ERR_IO, "the disk is broken");
}

static enum err take(struct pair *p, const char *name,
                     enum err (*open_old)(void *, const char *, int *, struct err_info *), struct err_info *info)
{
    const struct bundle_olds olds = {.open = open_old, .user = p};
    struct manifest *m = NULL;
    *info = (struct err_info){0};
    cleanup_fd int fd = kit_open(&p->kit, name);
    cleanup_fd int out = kit_open(&p->kit, "out");
    enum err e = bundle_extract(fd, &p->kit.trust, open_old == NULL ? NULL : &olds, out, &m, NULL, info);
    assert_true((e == ERR_OK) == (m != NULL));
    m = manifest_free(m);
    if (e != ERR_OK)
        assert_int_equal(kit_count(&p->kit, "out"), 0);
    return e;
}

static void assert_same_file(const struct kit *k, const char *a, const char *b)
{
    char path[160];
    cleanup_free char *one = NULL;
    cleanup_free char *two = NULL;
    size_t one_len = 0;
    size_t two_len = 0;
    assert_int_equal(file_read(kit_path(k, a, path), 1 << 20, &one, &one_len), ERR_OK);
    assert_int_equal(file_read(kit_path(k, b, path), 1 << 20, &two, &two_len), ERR_OK);
    assert_int_equal(one_len, two_len);
    assert_memory_equal(one, two, one_len);
}

static void a_delta_bundle_makes_the_new_files(void **state)
{
    (void)state;
    cleanup_pair struct pair p;
    struct err_info info;
    pair_start(&p);
    assert_int_equal(p.report.same, 2); /* kept, and moved, which is the old big */
    assert_int_equal(p.report.delta, 1);
    assert_int_equal(p.report.full, 2); /* fresh and empty */
    assert_true(p.report.full_size > 2 * MODEL && p.report.delta_size < MODEL / 2);
    if (take(&p, "d.mub", old_open, &info) != ERR_OK)
        fail_msg("%s: %s", info.code, info.text);
    static const char *const names[] = {"big", "moved", "kept", "fresh", "empty"};
    for (size_t i = 0; i < 5; i++) {
        char made[32];
        char source[32];
        (void)snprintf(made, sizeof made, "out/%s", names[i]);
        (void)snprintf(source, sizeof source, "two/%s", names[i]);
        assert_same_file(&p.kit, made, source);
    }
    assert_int_equal(kit_count(&p.kit, "out"), 7); /* and the manifest and its signature; no scratch file */
    assert_int_equal(kit_count(&p.kit, "."), 9);   /* model run out one two one.mub two.mub d.mub olds */
}

static void it_says_what_it_needs(void **state)
{
    (void)state;
    cleanup_pair struct pair p;
    struct err_info info = {0};
    pair_start(&p);
    struct manifest *m = NULL;
    struct bundle_keys keys;
    cleanup_free struct bundle_part *parts = NULL;
    cleanup_fd int fd = kit_open(&p.kit, "d.mub");
    cleanup_fd int big = kit_open(&p.kit, "one/big");
    char big_sha256[SHA256_HEX];
    int64_t size = 0;
    assert_int_equal(sha256_fd(big, big_sha256, &size), ERR_OK);
    assert_int_equal(bundle_inspect(fd, &p.kit.trust, &m, &keys, &parts, &info), ERR_OK);
    assert_int_equal(keys.count, 1);
    assert_int_equal(m->payload_count, 5);
    assert_int_equal(parts[0].form, BUNDLE_DELTA);
    assert_string_equal(parts[0].old_sha256, big_sha256);
    assert_int_equal(parts[1].form, BUNDLE_SAME);
    assert_string_equal(parts[1].old_sha256, big_sha256);
    assert_int_equal(parts[3].form, BUNDLE_FULL);
    assert_string_equal(parts[3].old_sha256, "");
    assert_int_equal(parts[3].size, NOISE);
    m = manifest_free(m);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    p.kit.trust.keys[0].key[0] ^= 1;
    assert_int_equal(bundle_inspect(fd, &p.kit.trust, &m, &keys, NULL, &info), ERR_UNTRUSTED);
    assert_null(m);
}

static void only_with_the_old_files(void **state)
{
    (void)state;
    cleanup_pair struct pair p;
    struct err_info info = {0};
    char path[160];
    pair_start(&p);
    assert_int_equal(take(&p, "d.mub", NULL, &info), ERR_CONFLICT);
    assert_string_equal(info.code, "delta_wrong_base");
    assert_int_equal(take(&p, "d.mub", old_wrong, &info), ERR_CONFLICT);
    assert_string_equal(info.code, "delta_wrong_base");
    assert_int_equal(take(&p, "d.mub", old_unreadable, &info), ERR_IO);
    /* A full bundle needs none, and is not confused by them. */
    assert_int_equal(take(&p, "one.mub", old_unreadable, &info), ERR_OK);
    assert_int_equal(file_remove_tree(kit_path(&p.kit, "out", path)), ERR_OK);
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_equal(unlinkat(p.olds, "kept", 0), 0);
    assert_int_equal(take(&p, "d.mub", old_open, &info), ERR_CONFLICT);
    assert_string_equal(info.code, "delta_wrong_base");
}

static void a_full_bundle_is_asked_for(void **state)
{
    (void)state;
    cleanup_pair struct pair p;
    struct err_info info = {0};
    struct manifest *m = NULL;
    char path[160];
    struct minisig_secret other;
    struct minisig_public unused;
    pair_start(&p);
    cleanup_fd int fd = kit_open(&p.kit, "d.mub");
    assert_int_equal(bundle_verify(fd, &p.kit.trust, &m, NULL, &info), ERR_CONFLICT);
    assert_string_equal(info.code, "bundle_is_delta");
    assert_null(m);
    assert_int_equal(minisig_generate(&other, &unused), ERR_OK);
    assert_int_equal(bundle_sign(kit_path(&p.kit, "d.mub", path), &other, &info), ERR_CONFLICT);
    assert_string_equal(info.code, "bundle_is_delta");
    assert_int_equal(delta_between(&p.kit, "d.mub", "two.mub", "e.mub", NULL, &info), ERR_CONFLICT);
    assert_int_equal(delta_between(&p.kit, "one.mub", "d.mub", "e.mub", NULL, &info), ERR_CONFLICT);
    m = kit_create(&p.kit, "model.mub");
    m = manifest_free(m);
    assert_int_equal(delta_between(&p.kit, "model.mub", "two.mub", "e.mub", NULL, &info), ERR_CONFLICT);
    assert_string_equal(info.code, "bundle_slots_differ");
    assert_int_equal(kit_count(&p.kit, "."), 10); /* those of pair_start and model.mub: nothing temporary */
}

/* Every byte of a delta bundle may be wrong: then nothing comes out, or, where the byte carries nothing, the right
 * files. */
static void damaged_anywhere(void **state)
{
    (void)state;
    cleanup_pair struct pair p;
    char path[160];
    size_t len = 0;
    cleanup_free char *bytes = NULL;
    pair_start(&p);
    assert_int_equal(file_read(kit_path(&p.kit, "d.mub", path), 1 << 20, &bytes, &len), ERR_OK);
    const struct bundle_olds olds = {.open = old_open, .user = &p};
    cleanup_fd int fd = memfd_create("bundle", MFD_CLOEXEC);
    assert_int_equal(file_write_fd(fd, bytes, len), ERR_OK);
    size_t refused = 0;
    for (size_t i = 0; i < len; i += 1 + i % 181) {
        struct manifest *m = NULL;
        struct err_info info = {0};
        char flipped = (char)(bytes[i] ^ (1 << i % 8));
        cleanup_fd int out = kit_open(&p.kit, "out");
        assert_int_equal(pwrite(fd, &flipped, 1, (off_t)i), 1);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        if (bundle_extract(fd, &p.kit.trust, &olds, out, &m, NULL, &info) == ERR_OK) {
            m = manifest_free(m);
            assert_same_file(&p.kit, "out/big", "two/big");
            assert_same_file(&p.kit, "out/fresh", "two/fresh");
            assert_int_equal(file_remove_tree(kit_path(&p.kit, "out", path)), ERR_OK);
            assert_int_equal(mkdir(path, 0755), 0);
        } else {
            refused++;
            assert_int_equal(kit_count(&p.kit, "out"), 0);
        }
        assert_int_equal(pwrite(fd, &bytes[i], 1, (off_t)i), 1);
    }
    assert_true(refused > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_delta_bundle_makes_the_new_files),
        cmocka_unit_test(it_says_what_it_needs),
        cmocka_unit_test(only_with_the_old_files),
        cmocka_unit_test(a_full_bundle_is_asked_for),
        cmocka_unit_test(damaged_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
