/* Tensors there and back: every type, every number, with and without an old tensor, whatever the threads. */
#include "tensor_kit.h"

#include "common/delta/packed.h"
#include "common/delta/tensor_decode.h"
#include "common/delta/tensor_encode.h"

#include <math.h>

enum { TYPES = TENSOR_I64 + 1 };

static void test_names(void **state)
{
    (void)state;
    int count = 0;
    while (tensors_method_name(count) != NULL)
        count++;
    assert_true(count > 2 && count <= 16); /* delta_info has room for 16 */
    assert_string_equal(tensors_method_name(0), "same");
    assert_null(tensors_method_name(-1));
}

static void test_type_sizes(void **state)
{
    (void)state;
    const size_t sizes[TYPES] = {4, 2, 2, 8, 1, 1, 2, 4, 8};
    for (int type = 0; type < TYPES; type++)
        assert_int_equal(tensor_type_size((enum tensor_type)type), sizes[type]);
}

/* All bits at random: also every kind of number that is none. */
static void test_random_bits(void **state)
{
    (void)state;
    uint64_t seed = 7;
    struct kit kit;
    kit_init(&kit);
    uint64_t old[600], new[600];
    for (int type = 0; type < TYPES; type++) {
        for (int i = 0; i < 600; i++) {
            old[i] = kit_random(&seed);
            new[i] = kit_random(&seed);
        }
        kit_add(&kit, (enum tensor_type)type, 20, 30, old, new);
        kit_add(&kit, (enum tensor_type)type, 1, 600, NULL, new);
        kit_add(&kit, (enum tensor_type)type, 600, 1, new, old);
        kit_add(&kit, (enum tensor_type)type, 0, 0, old, new);
        kit_add(&kit, (enum tensor_type)type, 60, 10, old, old)->kernel = 5;
    }
    const size_t size = kit_check(&kit);
    assert_true(size < kit.new.len * 5 / 4);
    kit_free(&kit);
}

/* The edges of each float format beside each other, to and from every other edge. */
static void test_special_floats(void **state)
{
    (void)state;
    static const uint32_t edges32[] = {0,          0x80000000, 1,          0x80000001, 0x007fffff, 0x00800000,
                                       0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00001,
                                       0x7f800001, 0x7fffffff, 0xffffffff, 0x3f800000, 0xbf800000};
    static const uint16_t edges16[] = {0,      0x8000, 1,      0x8001, 0x03ff, 0x0400, 0x7bff, 0xfbff, 0x7c00,
                                       0xfc00, 0x7e00, 0xfe01, 0x7c01, 0x7fff, 0xffff, 0x3c00, 0xbc00};
    static const uint64_t edges64[] = {0,
                                       1ULL << 63,
                                       1,
                                       0x000fffffffffffff,
                                       0x0010000000000000,
                                       0x7fefffffffffffff,
                                       0xffefffffffffffff,
                                       0x7ff0000000000000,
                                       0xfff0000000000000,
                                       0x7ff8000000000000,
                                       0xfff8000000000001,
                                       0x7ff0000000000001,
                                       0xffffffffffffffff,
                                       0x3ff0000000000000,
                                       0xbff0000000000000,
                                       0x7fffffffffffffff,
                                       0x8000000000000001};
    enum { EDGES = 17 };
    uint32_t old32[EDGES * EDGES], new32[EDGES * EDGES];
    uint16_t old16[EDGES * EDGES], new16[EDGES * EDGES];
    uint64_t old64[EDGES * EDGES], new64[EDGES * EDGES];
    for (int i = 0; i < EDGES * EDGES; i++) {
        old32[i] = edges32[i / EDGES];
        new32[i] = edges32[i % EDGES];
        old16[i] = edges16[i / EDGES];
        new16[i] = edges16[i % EDGES];
        old64[i] = edges64[i / EDGES];
        new64[i] = edges64[i % EDGES];
    }
    struct kit kit;
    kit_init(&kit);
    kit_add(&kit, TENSOR_F32, EDGES, EDGES, old32, new32);
    kit_add(&kit, TENSOR_F16, EDGES, EDGES, old16, new16);
    kit_add(&kit, TENSOR_BF16, EDGES, EDGES, old16, new16);
    kit_add(&kit, TENSOR_F64, EDGES, EDGES, old64, new64);
    kit_add(&kit, TENSOR_F64, 1, (uint64_t)EDGES * EDGES, NULL, new64);
    kit_check(&kit);
    kit_free(&kit);
}

/* Rows longer than what is coded at once, and than the columns that are remembered. */
static void test_long_rows(void **state)
{
    (void)state;
    enum { COLS = 70001 };
    uint64_t seed = 3;
    float *old = calloc(3UL * COLS, sizeof *old), *new = calloc(3UL * COLS, sizeof *new);
    if (old == NULL || new == NULL)
        abort();
    for (int i = 0; i < 3 * COLS; i++) {
        old[i] = (float)kit_normal(&seed);
        new[i] = i % 3 == 0 ? old[i] : (float)((double)old[i] + 1e-4 * kit_normal(&seed));
    }
    struct kit kit;
    kit_init(&kit);
    kit_add(&kit, TENSOR_F32, 3, COLS, old, new);
    kit_add(&kit, TENSOR_F32, 1, 3UL * COLS, old, new);
    const size_t size = kit_check(&kit);
    assert_true(size < kit.new.len / 2);
    kit_free(&kit);
    free(old);
    free(new);
}

/* A fine-tuned tensor costs a part of the tensor; one that is the same costs nothing. */
static void test_sizes(void **state)
{
    (void)state;
    enum { ROWS = 128, COLS = 256 };
    uint64_t seed = 5;
    static float old[ROWS * COLS], near[ROWS * COLS];
    for (int i = 0; i < ROWS * COLS; i++) {
        old[i] = (float)(0.05 * kit_normal(&seed));
        near[i] = (float)((double)old[i] + 1e-6 * kit_normal(&seed));
    }
    struct kit kit;
    kit_init(&kit);
    kit_add(&kit, TENSOR_F32, ROWS, COLS, old, old);
    assert_true(kit_check(&kit) < 8);
    kit_add(&kit, TENSOR_F32, ROWS, COLS, old, near);
    /* the updates are 10.9 bits of noise wide: the mean of log2(1e-6 * sqrt(2 pi e) / ulp) */
    assert_in_range(kit_check(&kit), ROWS * COLS * 10.9 / 8, ROWS * COLS * 11.3 / 8);
    kit_free(&kit);
}

/* Several groups, so that threads have something to share. */
/* Tensors that several threads rebuild want scales that one of them rebuilds first. */
static void test_scales_first(void **state)
{
    (void)state;
    enum { ROWS = 512, SMALL = 768, LARGE = 2304 /* columns of a tensor with slices */, TENSORS = 4 };
    uint64_t seed = 17;
    float old_scales[ROWS], new_scales[ROWS];
    int8_t *old = calloc((size_t)ROWS * LARGE, sizeof *old), *new = calloc((size_t)ROWS * LARGE, sizeof *new);
    if (old == NULL || new == NULL)
        abort();
    struct kit kit;
    kit_init(&kit);
    for (int i = 0; i < ROWS; i++) {
        old_scales[i] = (float)(0.01 + 1e-5 * i);
        new_scales[i] = old_scales[i] * (i % 2 == 0 ? 1.04F : 0.97F);
    }
    const struct tensor_pair *scales = kit_add(&kit, TENSOR_F32, 1, ROWS, old_scales, new_scales);
    for (int tensor = 0; tensor < TENSORS; tensor++) {
        const int cols = tensor == 1 ? LARGE : SMALL;
        for (int i = 0; i < ROWS * cols; i++) {
            const double weight = 0.3 * kit_normal(&seed);
            old[i] = (int8_t)fmax(-127, fmin(127, rint(weight / (double)old_scales[i / cols])));
            new[i] = (int8_t)fmax(-127, fmin(127, rint(weight / (double)new_scales[i / cols])));
        }
        struct tensor_pair *weights = kit_add(&kit, TENSOR_I8, ROWS, (uint64_t)cols, old, new);
        weights->old_scales = scales->old_offset;
        weights->new_scales = scales->new_offset;
        weights->scale_count = ROWS;
    }
    kit_encode(&kit, DELTA_FAST, 2);
    assert_string_equal(tensors_method_name(kit.methods[TENSORS]), "rescaled");
    for (int times = 0; times < 20; times++) {
        bool same = false;
        assert_int_equal(kit_decode(&kit, DELTA_FAST, KIT_MEMORY, &same), ERR_OK);
        assert_true(same);
    }
    kit_free(&kit);
    free(old);
    free(new);
}

static void test_threads(void **state)
{
    (void)state;
    enum { ELEMENTS = 1 << 18 };
    uint64_t seed = 11;
    float *old = calloc(ELEMENTS, sizeof *old), *new = calloc(ELEMENTS, sizeof *new);
    if (old == NULL || new == NULL)
        abort();
    struct kit kit;
    kit_init(&kit);
    for (int tensor = 0; tensor < 4; tensor++) {
        for (int i = 0; i < ELEMENTS; i++) {
            old[i] = (float)kit_normal(&seed);
            new[i] = (float)((double)old[i] + 1e-5 * kit_normal(&seed));
        }
        kit_add(&kit, TENSOR_F32, 512, 512, old, new);
    }
    kit_encode(&kit, DELTA_FAST, 1);
    struct buf alone = kit.delta;
    for (int threads = 2; threads < 6; threads++) {
        kit.delta = BUF_INIT(1 << 28);
        kit_encode(&kit, DELTA_FAST, threads);
        assert_int_equal(kit.delta.len, alone.len);
        assert_memory_equal(kit.delta.data, alone.data, alone.len);
        buf_free(&kit.delta);
    }
    kit.delta = alone;
    kit_free(&kit);
    free(old);
    free(new);
}

/* All that one group may need, at the largest: a program with its libraries has to fit into 64 MiB beside it. */
static void test_memory(void **state)
{
    (void)state;
    const size_t others =
        RESIDUAL_COLUMNS_MAX * sizeof(struct column) + BLOCK_BYTES_MAX + (size_t)384 * 1024; /* the decoder itself */
    const size_t best = 3 * residual_size(DELTA_BEST) + others, fast = 3 * residual_size(DELTA_FAST) + others;
    assert_in_range(best + PLAN_ACROSS_BYTES_MAX, 1, 13 << 19);
    assert_in_range(best + packed_memory(), 1, KIT_MEMORY); /* a packed one has no factors */
    assert_in_range(fast + packed_memory(), 1, TENSOR_DECODER_FAST_MAX);
    assert_in_range(fast + PLAN_ACROSS_BYTES_MAX, 1, TENSOR_DECODER_FAST_MAX);
    assert_int_equal(PROFILE_COUNT, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),          cmocka_unit_test(test_type_sizes), cmocka_unit_test(test_random_bits),
        cmocka_unit_test(test_special_floats), cmocka_unit_test(test_long_rows),  cmocka_unit_test(test_scales_first),
        cmocka_unit_test(test_sizes),          cmocka_unit_test(test_threads),    cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
