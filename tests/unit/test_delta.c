/* Deltas of files that are no models: there and back, small where they should be, the same whoever makes them. */
#include "tests/unit/delta_kit.h"

#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>

enum { SIZE = 300 * 1000 };

struct texts {
    uint8_t *old, *new;
    size_t old_len, new_len;
};

static uint8_t *noise(size_t len, uint64_t seed)
{
    uint8_t *bytes = malloc(len + 1);
    assert_non_null(bytes);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)kit_random(&seed);
    return bytes;
}

/* Words of a small vocabulary. */
static uint8_t *prose(size_t len, uint64_t seed)
{
    uint8_t *bytes = malloc(len + 32);
    assert_non_null(bytes);
    for (size_t at = 0; at < len;) {
        uint64_t word = kit_random(&seed) % 1000;
        size_t n = 2 + word % 7;
        for (size_t i = 0; i < n; i++)
            bytes[at++] = (uint8_t)('a' + kit_random(&word) % 26);
        bytes[at++] = ' ';
    }
    return bytes;
}

static struct texts texts_of(uint8_t *old, size_t old_len, uint8_t *new, size_t new_len)
{
    return (struct texts){.old = old, .new = new, .old_len = old_len, .new_len = new_len};
}

static struct texts copy_of(uint8_t *old, size_t len, size_t room)
{
    uint8_t *new = malloc(room + 1);
    assert_non_null(new);
    memcpy(new, old, len < room ? len : room);
    return texts_of(old, len, new, room);
}

/* ---- one case each ---- */

static struct texts empty(void)
{
    return texts_of(noise(0, 1), 0, noise(0, 1), 0);
}

static struct texts from_nothing(void)
{
    return texts_of(noise(0, 1), 0, prose(SIZE, 2), SIZE);
}

static struct texts to_nothing(void)
{
    return texts_of(noise(SIZE, 1), SIZE, noise(0, 1), 0);
}

static struct texts one_byte(void)
{
    return texts_of(noise(1, 1), 1, noise(1, 2), 1);
}

static struct texts identical(void)
{
    return copy_of(noise(SIZE, 1), SIZE, SIZE);
}

static struct texts byte_changed(void)
{
    struct texts t = copy_of(noise(SIZE, 1), SIZE, SIZE);
    t.new[SIZE / 2] ^= 1;
    return t;
}

static struct texts inserted(void)
{
    struct texts t = copy_of(noise(SIZE, 1), SIZE, SIZE + 100);
    memcpy(t.new + 1000, "what was not there", 18);
    memcpy(t.new + 1018, t.old + 1000, SIZE - 1000);
    memcpy(t.new + SIZE + 18, t.old + 77, 82);
    return t;
}

static struct texts deleted(void)
{
    struct texts t = copy_of(noise(SIZE, 1), SIZE, SIZE - 5000);
    memcpy(t.new + 100, t.old + 5100, SIZE - 5100);
    return t;
}

static struct texts reordered(void)
{
    struct texts t = copy_of(noise(SIZE, 1), SIZE, SIZE);
    for (size_t i = 0; i < 10; i++)
        memcpy(t.new + i *(SIZE / 10), t.old + (i * 7 % 10) * (SIZE / 10), SIZE / 10);
    return t;
}

static struct texts scattered(void)
{
    struct texts t = copy_of(noise(SIZE, 1), SIZE, SIZE);
    for (size_t i = 0; i < SIZE; i += 97)
        t.new[i] = (uint8_t)(t.new[i] + 8);
    return t;
}

static struct texts repeated(void)
{
    uint8_t *new = malloc(SIZE);
    uint8_t *block = noise(1000, 9);
    assert_non_null(new);
    for (size_t i = 0; i < SIZE; i++)
        new[i] = block[i % 1000];
    free(block);
    return texts_of(noise(500, 1), 500, new, SIZE);
}

static struct texts zeros(void)
{
    uint8_t *new = calloc(1, (size_t)8 * SIZE);
    assert_non_null(new);
    return texts_of(noise(500, 1), 500, new, (size_t)8 * SIZE);
}

static struct texts unrelated(void)
{
    return texts_of(noise(SIZE, 1), SIZE, noise(SIZE, 2), SIZE);
}

static struct texts other_prose(void)
{
    return texts_of(prose(SIZE, 1), SIZE, prose(SIZE, 2), SIZE);
}

/* Copies of the new file from far before: more than the decoder keeps. */
static struct texts far_repeats(void)
{
    uint8_t *new = noise((size_t)8 * SIZE, 3);
    memcpy(new + (size_t)7 * SIZE, new, SIZE);
    memcpy(new + (size_t)5 * SIZE, new + 12345, 70000);
    return texts_of(noise(10, 1), 10, new, (size_t)8 * SIZE);
}

/* Functions that call each other; each seventh has `gap` bytes more. The last bytes are an operand. */
static uint8_t *program(size_t gap, size_t *ret_len)
{
    enum { FUNCTION = 75, FUNCTIONS = SIZE / FUNCTION };
    static const size_t calls[] = {20, 70};
    uint64_t seed = 1;
    uint8_t *code = noise(FUNCTION, 5);
    *ret_len = SIZE + FUNCTIONS / 7 * gap;
    uint8_t *bytes = calloc(1, *ret_len);
    assert_non_null(bytes);
    for (size_t i = 0; i < FUNCTIONS; i++) {
        const size_t at = i * FUNCTION + (i + 1) / 7 * gap;
        for (size_t k = 0; k < FUNCTION; k++)
            bytes[at + k] = (uint8_t)(code[k] + kit_random(&seed) % 8);
        for (size_t k = 0; k < sizeof calls / sizeof calls[0]; k++) {
            const size_t called = kit_random(&seed) % FUNCTIONS;
            const size_t behind = at + calls[k] + 5;
            const uint32_t operand = (uint32_t)(called * FUNCTION + (called + 1) / 7 * gap - behind);
            bytes[at + calls[k]] = 0xe8;
            for (size_t n = 0; n < 4; n++)
                bytes[behind - 4 + n] = (uint8_t)(operand >> 8 * n);
        }
    }
    free(code);
    return bytes;
}

static struct texts calls_moved(void)
{
    struct texts t = {0};
    t.old = program(0, &t.old_len);
    t.new = program(9, &t.new_len);
    return t;
}

static void round_trips(void **state)
{
    static const struct {
        const char *name;
        struct texts (*make)(void);
        size_t most; /* bytes of the delta */
    } cases[] = {{"empty", empty, 130},
                 {"from nothing", from_nothing, SIZE * 2 / 5},
                 {"to nothing", to_nothing, 130},
                 {"one byte", one_byte, 140},
                 {"identical", identical, 140},
                 {"byte changed", byte_changed, 150},
                 {"inserted", inserted, 190},
                 {"deleted", deleted, 150},
                 {"reordered", reordered, 250},
                 {"scattered", scattered, SIZE / 100},
                 {"repeated", repeated, 1250},
                 {"zeros", zeros, 200},
                 {"unrelated", unrelated, SIZE + SIZE / 1000},
                 {"other prose", other_prose, SIZE * 2 / 5},
                 {"calls moved", calls_moved, 15000},
                 {"far repeats", far_repeats, (size_t)7 * SIZE - 60000}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int effort = DELTA_FAST; effort <= DELTA_BEST; effort++) {
            struct texts t = cases[i].make();
            struct delta_info about;
            size_t size = kit_round_trip(t.old, t.old_len, t.new, t.new_len, (enum delta_effort)effort, &about);
            if (size > cases[i].most)
                fail_msg("%s, effort %d: %zu bytes, at most %zu expected", cases[i].name, effort, size, cases[i].most);
            assert_int_equal(about.delta_size, size);
            assert_int_equal(about.old_size, t.old_len);
            assert_int_equal(about.new_size, t.new_len);
            assert_in_range(about.effort, DELTA_FAST, effort); /* best keeps the shorter one */
            assert_string_equal(about.format, "binary");
            assert_true(about.apply_memory <= DELTA_APPLY_MEMORY_MAX);
            free(t.old);
            free(t.new);
        }
}

/* Where one call went tells the others: told byte by byte, as at best, they take half as much again. */
static void calls_tell_each_other(void **state)
{
    (void)state;
    struct texts t = calls_moved();
    assert_in_range(kit_round_trip(t.old, t.old_len, t.new, t.new_len, DELTA_FAST, NULL), 1, 10000);
    free(t.old);
    free(t.new);
}

/* Many small edits of all kinds, several segments long. */
static void random_edits(void **state)
{
    uint64_t seed = 7;
    (void)state;
    for (int round = 0; round < 3; round++) {
        size_t old_len = 1000 + kit_random(&seed) % 900000;
        uint8_t *old = round % 2 ? prose(old_len, seed) : noise(old_len, seed);
        uint8_t *new = malloc(old_len * 4);
        size_t n = 0;
        assert_non_null(new);
        while (n < old_len * 2) {
            size_t len = 1 + kit_random(&seed) % 20000;
            size_t from = kit_random(&seed) % old_len;
            len = len < old_len - from ? len : old_len - from;
            memcpy(new + n, old + from, len);
            for (size_t k = kit_random(&seed) % 20; k > 0; k--)
                new[n + kit_random(&seed) % len] = (uint8_t)kit_random(&seed);
            n += len;
        }
        (void)kit_round_trip(old, old_len, new, n, round % 3 ? DELTA_FAST : DELTA_BEST, NULL);
        free(old);
        free(new);
    }
}

static void threads_do_not_count(void **state)
{
    (void)state;
    enum { BIG = 4 * 1000 * 1000 };
    uint8_t *old = prose(BIG, 1);
    uint8_t *new = prose(BIG, 2);
    memcpy(new + 1000000, old + 1500000, 2500000);
    for (size_t i = 1000000; i < 3500000; i += 1013)
        new[i]++;
    cleanup_fd int old_fd = kit_file(old, BIG);
    cleanup_fd int new_fd = kit_file(new, BIG);
    cleanup_fd int one = kit_delta(old_fd, new_fd, DELTA_FAST, 1, NULL);
    cleanup_fd int two = kit_delta(old_fd, new_fd, DELTA_FAST, 2, NULL);
    cleanup_fd int many = kit_delta(old_fd, new_fd, DELTA_FAST, 7, NULL);
    kit_same(one, two);
    kit_same(one, many);
    free(old);
    free(new);
}

struct told {
    double last;
    int calls;
};

static void progress_take(void *user, double done)
{
    struct told *told = user;
    assert_true(done >= told->last && done <= 1);
    told->last = done;
    told->calls++;
}

static void progress_reaches_the_end(void **state)
{
    struct told told = {0};
    struct delta_options options = {.effort = DELTA_BEST, .progress = progress_take, .user = &told};
    (void)state;
    uint8_t *old = prose(SIZE, 1);
    uint8_t *new = prose(SIZE, 2);
    cleanup_fd int old_fd = kit_file(old, SIZE);
    cleanup_fd int new_fd = kit_file(new, SIZE);
    cleanup_fd int out = memfd_create("out", MFD_CLOEXEC);
    assert_int_equal(delta_create(old_fd, new_fd, out, &options, NULL, NULL), ERR_OK);
    assert_true(told.calls >= 1 && told.last == 1);
    free(old);
    free(new);
}

static void no_space_is_said(void **state)
{
    (void)state;
    uint8_t *old = noise(SIZE, 1);
    cleanup_fd int old_fd = kit_file(old, SIZE);
    cleanup_fd int full = open("/dev/full", O_RDWR | O_CLOEXEC);
    cleanup_fd int delta = kit_delta(old_fd, old_fd, DELTA_FAST, 1, NULL);
    struct delta_options options = {.effort = DELTA_FAST};
    struct err_info info = {0};
    assert_true(full >= 0);
    assert_int_equal(delta_apply(old_fd, delta, full, NULL, &info), ERR_NO_SPACE);
    assert_true(info.text[0] != '\0');
    assert_int_equal(delta_create(old_fd, old_fd, full, &options, NULL, &info), ERR_NO_SPACE);
    free(old);
}

/* ---- trees whose files repeat one another ---- */

/* Another version: in the place of one of so many bytes stand up to five others. */
static size_t edited(const uint8_t *from, size_t len, uint32_t one_of, uint64_t seed, uint8_t *ret_to)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        const uint32_t fate = kit_random(&seed);
        if (fate % one_of != 0) {
            ret_to[n++] = from[i];
            continue;
        }
        for (uint32_t k = fate / one_of % 6; k > 0; k--)
            ret_to[n++] = (uint8_t)kit_random(&seed);
    }
    return n;
}

/* Each file of the old tree is changed a lot, and stands in the new one three times with hardly a difference. */
static struct texts copies(void)
{
    enum { FILES = 12, LEN = 25 * 1000, ONE_OF = 24, ONE_OF_COPY = 1500 };
    struct texts t = {.old = prose(FILES * LEN, 9), .old_len = FILES * LEN, .new = malloc(FILES * LEN * 8)};
    cleanup_free uint8_t *version = malloc(LEN * 6);
    assert_non_null(t.new);
    assert_non_null(version);
    for (size_t i = 0; i < FILES; i++) {
        const size_t len = edited(t.old + i * LEN, LEN, ONE_OF, 100 + i, version);
        for (size_t k = 0; k < 3; k++)
            t.new_len += edited(version, len, ONE_OF_COPY, 200 + 3 * i + k, t.new + t.new_len);
    }
    return t;
}

static size_t zstd_size(const struct texts *t)
{
    const size_t room = ZSTD_compressBound(t->new_len);
    cleanup_free uint8_t *out = malloc(room);
    ZSTD_CCtx *zstd = ZSTD_createCCtx();
    assert_non_null(out);
    assert_non_null(zstd);
    assert_false(ZSTD_isError(ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, 19)));
    assert_false(ZSTD_isError(ZSTD_CCtx_setParameter(zstd, ZSTD_c_windowLog, 24)));
    assert_false(ZSTD_isError(ZSTD_CCtx_setParameter(zstd, ZSTD_c_enableLongDistanceMatching, 1)));
    assert_false(ZSTD_isError(ZSTD_CCtx_refPrefix(zstd, t->old, t->old_len)));
    const size_t n = ZSTD_compress2(zstd, out, room, t->new, t->new_len);
    assert_false(ZSTD_isError(n));
    ZSTD_freeCCtx(zstd);
    return n;
}

static void repeats_are_told_once(void **state)
{
    (void)state;
    struct texts t = copies();
    const size_t best = kit_round_trip(t.old, t.old_len, t.new, t.new_len, DELTA_BEST, NULL);
    const size_t fast = kit_round_trip(t.old, t.old_len, t.new, t.new_len, DELTA_FAST, NULL);
    const size_t zstd = zstd_size(&t);
    print_message("three of each: best %zu, fast %zu, zstd %zu\n", best, fast, zstd);
    assert_true(best <= zstd + zstd / 100);
    assert_true(fast <= zstd);
    free(t.old);
    free(t.new);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),           cmocka_unit_test(random_edits),
        cmocka_unit_test(threads_do_not_count),  cmocka_unit_test(progress_reaches_the_end),
        cmocka_unit_test(no_space_is_said),      cmocka_unit_test(calls_tell_each_other),
        cmocka_unit_test(repeats_are_told_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
