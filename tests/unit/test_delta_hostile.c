/* Deltas that are damaged or lie: refused, whatever they say, and never more written than what they were expected to
 * make. */
#include "tests/unit/delta_kit.h"

#include "common/delta/format.h"

#include <sys/resource.h>
#include <sys/wait.h>

enum { SIZE = 6000, ROWS = 8, COLS = 100 };

/* A pair of files and the delta between them. */
struct victim {
    int old, new;
    uint8_t *delta;
    size_t len;
    struct delta_info about;
};

static void victim_end(const struct victim *v)
{
    (void)close(v->old);
    (void)close(v->new);
    free(v->delta);
}
#define cleanup_victim [[gnu::cleanup(victim_end)]]

static struct victim victim_of(int old, int new, enum delta_effort effort)
{
    struct victim v = {.old = old, .new = new};
    cleanup_fd int delta = kit_delta(old, new, effort, 1, &v.about);
    v.delta = kit_bytes(delta, &v.len);
    return v;
}

static struct victim binary_victim(void)
{
    uint8_t old[SIZE];
    uint8_t new[SIZE];
    uint64_t seed = 5;
    for (size_t i = 0; i < SIZE; i++)
        old[i] = (uint8_t)(kit_random(&seed) % 40);
    memcpy(new, old, SIZE);
    for (size_t i = 0; i < SIZE; i += 61)
        new[i]++;
    memcpy(new + 3000, old + 100, 900);
    memcpy(new + 4500, new + 20, 700);
    memcpy(new + 5800, "some text that was not there before", 35);
    return victim_of(kit_file(old, SIZE), kit_file(new, SIZE), DELTA_FAST);
}

static int model_file(uint64_t seed, float moved)
{
    static const uint64_t dims[] = {ROWS, COLS};
    cleanup_buf struct buf graph = BUF_INIT(KIT_FILE_MAX);
    cleanup_buf struct buf model = BUF_INIT(KIT_FILE_MAX);
    cleanup_free float *a = kit_weights((size_t)ROWS * COLS, seed, moved);
    cleanup_free float *b = kit_weights(ROWS, seed + 1, moved);
    kit_initializer(&graph, "w", 1, dims, 2, a, (size_t)ROWS * COLS * 4);
    kit_initializer(&graph, "b", 1, dims, 1, b, (size_t)ROWS * 4);
    kit_model(&model, &graph);
    return kit_file(model.data, model.len);
}

static struct victim model_victim(void)
{
    struct victim v = victim_of(model_file(1, 0), model_file(1, 0.01F), DELTA_FAST);
    assert_string_equal(v.about.format, "onnx");
    assert_int_equal(v.about.tensors, 2);
    return v;
}

/* Applies these bytes; the file that came of it has to be right or refused, and never be too long. */
static enum err apply(const struct victim *v, const uint8_t *delta, size_t len, const char *what, struct err_info *info)
{
    cleanup_fd int fd = kit_file(delta, len);
    cleanup_fd int out = memfd_create("out", MFD_CLOEXEC);
    struct delta_expect expect = {.new_sha256 = v->about.new_sha256, .new_size = v->about.new_size};
    struct delta_info about;
    *info = (struct err_info){0};
    enum err e = delta_apply(v->old, fd, out, &expect, info);
    if (e != ERR_OK && kit_size(out) != 0)
        fail_msg("%s: %zu bytes were left", what, kit_size(out));
    if (e == ERR_OK)
        kit_same(out, v->new);
    else if (info->text[0] == '\0')
        fail_msg("%s: %s without a word", what, err_name(e));
    (void)delta_inspect(fd, &about, NULL);
    return e;
}

/* Makes the check of the head right again, as somebody who means harm would. */
static void check_mend(uint8_t *delta, size_t len)
{
    uint8_t directory[4];
    uint8_t notes[4];
    memcpy(directory, delta + 96, 4);
    memcpy(notes, delta + 104, 4);
    size_t directory_len = directory[0] | (size_t)directory[1] << 8;
    size_t notes_len = notes[0] | (size_t)notes[1] << 8;
    if (FORMAT_HEAD + directory_len + notes_len > len)
        return;
    cleanup_sha256 struct sha256 *hash = NULL;
    char hex[SHA256_HEX];
    assert_int_equal(sha256_new(&hash), ERR_OK);
    assert_int_equal(sha256_add(hash, delta, FORMAT_HEAD - 4), ERR_OK);
    assert_int_equal(sha256_add(hash, delta + FORMAT_HEAD, directory_len), ERR_OK);
    assert_int_equal(sha256_add(hash, delta + len - notes_len, notes_len), ERR_OK);
    assert_int_equal(sha256_end(hash, hex), ERR_OK);
    for (size_t i = 0; i < 4; i++) {
        unsigned byte = 0;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
        delta[FORMAT_HEAD - 4 + i] = (uint8_t)byte;
    }
}

static void flip_all(const struct victim *v, bool mend)
{
    cleanup_free uint8_t *bytes = malloc(v->len);
    struct err_info info;
    size_t refused = 0;
    assert_non_null(bytes);
    for (size_t i = 0; i < v->len; i++) {
        char what[32];
        (void)snprintf(what, sizeof what, "byte %zu", i);
        memcpy(bytes, v->delta, v->len);
        bytes[i] ^= (uint8_t)(1U << i % 8);
        if (mend)
            check_mend(bytes, v->len);
        refused += apply(v, bytes, v->len, what, &info) != ERR_OK;
    }
    /* The last bits of a coded stream may not matter; behind a wrong check all else does. */
    assert_true(mend || refused + 8 >= v->len);
}

static void flipped(void **state)
{
    (void)state;
    cleanup_victim struct victim binary = binary_victim();
    cleanup_victim struct victim model = model_victim();
    flip_all(&binary, false);
    flip_all(&binary, true);
    flip_all(&model, false);
    flip_all(&model, true);
}

static void cut_off(void **state)
{
    (void)state;
    struct err_info info;
    cleanup_victim struct victim binary = binary_victim();
    cleanup_victim struct victim model = model_victim();
    for (size_t len = 0; len < binary.len; len++)
        assert_int_equal(apply(&binary, binary.delta, len, "cut off", &info), ERR_CORRUPT);
    for (size_t len = 0; len < model.len; len += 1 + len / 200)
        assert_int_equal(apply(&model, model.delta, len, "cut off", &info), ERR_CORRUPT);
    assert_string_equal(info.code, "delta_invalid");
    assert_true(info.next[0] != '\0');
    uint8_t *longer = calloc(1, binary.len + 1);
    assert_non_null(longer);
    memcpy(longer, binary.delta, binary.len);
    assert_int_equal(apply(&binary, longer, binary.len + 1, "a byte more", &info), ERR_CORRUPT);
    free(longer);
}

/* Numbers of the head, replaced by large ones, with a right check. */
static void lies(void **state)
{
    static const uint64_t values[] = {0,          1,           0x7fffffff,       0x80000000,
                                      0xffffffff, 0x100000000, (1ULL << 47) - 1, (1ULL << 48) - 1};
    static const struct {
        size_t at, bytes;
    } numbers[] = {{72, 6}, {78, 6}, {84, 6}, {90, 6}, {96, 4}, {100, 4}, {104, 4}, {108, 4}};
    (void)state;
    struct err_info info;
    cleanup_victim struct victim model = model_victim();
    for (size_t n = 0; n < sizeof numbers / sizeof numbers[0]; n++)
        for (size_t k = 0; k < sizeof values / sizeof values[0]; k++) {
            cleanup_free uint8_t *bytes = malloc(model.len);
            char what[64];
            assert_non_null(bytes);
            memcpy(bytes, model.delta, model.len);
            for (size_t i = 0; i < numbers[n].bytes; i++)
                bytes[numbers[n].at + i] = (uint8_t)(values[k] >> (8 * i));
            check_mend(bytes, model.len);
            (void)snprintf(what, sizeof what, "%llx at %zu", (unsigned long long)values[k], numbers[n].at);
            enum err e = apply(&model, bytes, model.len, what, &info);
            bool memory = numbers[n].at == 108; /* less than it takes is not held against it */
            uint32_t kib = (uint32_t)values[k];
            if (e == ERR_OK && !(memory && kib <= 1))
                fail_msg("%s was believed", what);
            if (memory && kib > 1)
                assert_string_equal(info.code, "delta_unsupported");
        }
}

/* Streams of noise behind a right head. */
static void noise(void **state)
{
    (void)state;
    uint64_t seed = 11;
    struct err_info info;
    cleanup_victim struct victim binary = binary_victim();
    cleanup_victim struct victim model = model_victim();
    const struct victim *const victims[] = {&binary, &model};
    for (int round = 0; round < 200; round++) {
        const struct victim *v = victims[round % 2];
        cleanup_free uint8_t *bytes = malloc(v->len);
        assert_non_null(bytes);
        memcpy(bytes, v->delta, v->len);
        uint32_t notes; /* at the end; a rebuild does not read them */
        memcpy(&notes, v->delta + 104, sizeof notes);
        size_t end = v->len - notes;
        size_t from = FORMAT_HEAD + kit_random(&seed) % (end - FORMAT_HEAD);
        for (size_t i = from; i < end && i < from + 64; i++)
            bytes[i] = (uint8_t)kit_random(&seed);
        check_mend(bytes, v->len);
        assert_int_not_equal(apply(v, bytes, v->len, "noise", &info), ERR_OK);
    }
}

static void refused(const struct victim *v, int old, const uint8_t *delta, enum err wanted, const char *code)
{
    struct err_info info = {0};
    cleanup_fd int fd = kit_file(delta, v->len);
    cleanup_fd int out = memfd_create("out", MFD_CLOEXEC);
    assert_int_equal(delta_apply(old, fd, out, NULL, &info), wanted);
    assert_string_equal(info.code, code);
    assert_true(info.next[0] != '\0');
    assert_int_equal(kit_size(out), 0);
}

/* Whatever else is wrong: another old file is told, and only then the delta is blamed. */
static void base_check(const struct victim *v)
{
    size_t len = 0;
    cleanup_free uint8_t *old = kit_bytes(v->old, &len);
    cleanup_free uint8_t *damaged = malloc(v->len);
    assert_non_null(damaged);
    memcpy(damaged, v->delta, v->len);
    for (size_t i = v->len - v->len / 3; i < v->len - 40; i++)
        damaged[i] ^= 0x55;
    check_mend(damaged, v->len);
    cleanup_fd int shorter = kit_file(old, len - 1);
    cleanup_fd int nothing = kit_file("", 0);
    for (size_t i = len / 2; i < len; i += 3)
        old[i] ^= 0x10;
    cleanup_fd int other = kit_file(old, len);
    refused(v, v->old, damaged, ERR_CORRUPT, "delta_invalid");
    refused(v, other, v->delta, ERR_CONFLICT, "delta_wrong_base");
    refused(v, other, damaged, ERR_CONFLICT, "delta_wrong_base");
    refused(v, shorter, v->delta, ERR_CONFLICT, "delta_wrong_base");
    refused(v, shorter, damaged, ERR_CONFLICT, "delta_wrong_base");
    refused(v, nothing, v->delta, ERR_CONFLICT, "delta_wrong_base");
}

static void another_base(void **state)
{
    (void)state;
    cleanup_victim struct victim binary = binary_victim();
    cleanup_victim struct victim model = model_victim();
    base_check(&binary);
    base_check(&model);
}

/* Old files of noise, and with each byte another: what a rebuild makes of them is told from the new file. */
static void any_base(void **state)
{
    (void)state;
    uint64_t seed = 3;
    cleanup_victim struct victim binary = binary_victim();
    cleanup_victim struct victim model = model_victim();
    const struct victim *const victims[] = {&binary, &model};
    for (int round = 0; round < 400; round++) {
        const struct victim *v = victims[round % 2];
        size_t len = 0;
        struct err_info info = {0};
        cleanup_free uint8_t *old = kit_bytes(v->old, &len);
        const size_t from = round < 40 ? 0 : kit_random(&seed) % len, to = round < 40 ? len : from + 1;
        for (size_t i = from; i < to; i++)
            old[i] ^= (uint8_t)(1 + kit_random(&seed) % 255);
        cleanup_fd int old_fd = kit_file(old, len);
        cleanup_fd int fd = kit_file(v->delta, v->len);
        cleanup_fd int out = memfd_create("out", MFD_CLOEXEC);
        enum err e = delta_apply(old_fd, fd, out, NULL, &info);
        if (e == ERR_OK) { /* the byte was not looked at */
            assert_true(round >= 40);
            kit_same(out, v->new);
            continue;
        }
        assert_int_equal(e, ERR_CONFLICT);
        assert_string_equal(info.code, "delta_wrong_base");
        assert_int_equal(kit_size(out), 0);
    }
}

static void another_result(void **state)
{
    (void)state;
    struct err_info info = {0};
    cleanup_victim struct victim v = binary_victim();
    cleanup_fd int delta = kit_file(v.delta, v.len);
    cleanup_fd int out = memfd_create("out", MFD_CLOEXEC);
    struct delta_expect expect = {.new_sha256 = v.about.old_sha256, .new_size = v.about.new_size};
    assert_int_equal(delta_apply(v.old, delta, out, &expect, &info), ERR_CORRUPT);
    assert_string_equal(info.code, "delta_invalid");
    expect = (struct delta_expect){.new_sha256 = v.about.new_sha256, .new_size = v.about.new_size - 1};
    assert_int_equal(delta_apply(v.old, delta, out, &expect, &info), ERR_CORRUPT);
    assert_int_equal(kit_size(out), 0);
}

static size_t address_space(void)
{
    unsigned long pages = 0;
    cleanup_file FILE *file = fopen("/proc/self/statm", "re");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu", &pages), 1);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* In a child that may take no more than what is promised, and a little for the C library. */
static void within_memory(int old, int delta, int new)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int out = memfd_create("out", MFD_CLOEXEC);
        struct rlimit limit;
        limit.rlim_cur = limit.rlim_max = address_space() + DELTA_APPLY_MEMORY_MAX + (size_t)512 * 1024;
        bool good = setrlimit(RLIMIT_AS, &limit) == 0 && delta_apply(old, delta, out, NULL, NULL) == ERR_OK;
        _exit(good && lseek(out, 0, SEEK_END) == lseek(new, 0, SEEK_END) ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* Sanitizers need much address space. */
static bool sanitized(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#else
    return false;
#endif
}

static void memory_is_bounded(void **state)
{
    enum { BIG = 3 * 1000 * 1000 };
    (void)state;
    if (sanitized())
        skip();
    cleanup_free float *old = kit_weights(BIG / 4, 1, 0);
    cleanup_free float *new = kit_weights(BIG / 4, 1, 0.01F);
    cleanup_fd int old_fd = kit_file(old, BIG);
    cleanup_fd int new_fd = kit_file(new, BIG);
    for (int effort = DELTA_FAST; effort <= DELTA_BEST; effort++) {
        cleanup_fd int delta = kit_delta(old_fd, new_fd, (enum delta_effort)effort, 1, NULL);
        within_memory(old_fd, delta, new_fd);
    }
}

static void memory_is_bounded_for_models(void **state)
{
    static const uint64_t dims[] = {600, 1000};
    (void)state;
    int fds[2];
    if (sanitized())
        skip();
    for (int i = 0; i < 2; i++) {
        cleanup_buf struct buf graph = BUF_INIT(KIT_FILE_MAX);
        cleanup_buf struct buf model = BUF_INIT(KIT_FILE_MAX);
        cleanup_free float *w = kit_weights((size_t)600 * 1000, 1, i == 0 ? 0 : 0.01F);
        kit_initializer(&graph, "w", 1, dims, 2, w, (size_t)600 * 1000 * 4);
        kit_model(&model, &graph);
        fds[i] = kit_file(model.data, model.len);
    }
    for (int effort = DELTA_FAST; effort <= DELTA_BEST; effort++) {
        cleanup_fd int delta = kit_delta(fds[0], fds[1], (enum delta_effort)effort, 1, NULL);
        within_memory(fds[0], delta, fds[1]);
    }
    (void)close(fds[0]);
    (void)close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flipped),
        cmocka_unit_test(cut_off),
        cmocka_unit_test(lies),
        cmocka_unit_test(noise),
        cmocka_unit_test(another_base),
        cmocka_unit_test(any_base),
        cmocka_unit_test(another_result),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(memory_is_bounded_for_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
