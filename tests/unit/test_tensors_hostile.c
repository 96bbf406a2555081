/* Deltas of tensors that somebody made up: an error or a wrong result, never more. Run it with sanitizers too. */
#include "tensor_kit.h"

enum { ROWS = 24, COLS = 40, ELEMENTS = ROWS * COLS, MUTATIONS = 400 };

static void kit_fill(struct kit *kit)
{
    static float old[ELEMENTS], new[ELEMENTS];
    static int8_t old8[ELEMENTS], new8[ELEMENTS];
    static float scales[2][ROWS];
    uint64_t seed = 99;
    for (int i = 0; i < ELEMENTS; i++) {
        old[i] = (float)kit_normal(&seed);
        new[i] = (float)((double)old[i] + 1e-3 * kit_normal(&seed));
        old8[i] = (int8_t)(30 * kit_normal(&seed));
        new8[i] = (int8_t)(old8[i] + (kit_random(&seed) % 8 == 0));
    }
    for (int i = 0; i < ROWS; i++) {
        scales[0][i] = (float)(0.01 + 0.001 * i);
        scales[1][i] = (float)(0.011 + 0.001 * i);
    }
    kit_init(kit);
    const struct tensor_pair *s = kit_add(kit, TENSOR_F32, 1, ROWS, scales[0], scales[1]);
    struct tensor_pair *q = kit_add(kit, TENSOR_I8, ROWS, COLS, old8, new8);
    q->old_scales = s->old_offset;
    q->new_scales = s->new_offset;
    q->scale_count = ROWS;
    kit_add(kit, TENSOR_F32, ROWS, COLS, old, new);
    kit_add(kit, TENSOR_F64, ROWS, COLS / 2, old, new);
    kit_add(kit, TENSOR_F16, ROWS, COLS, NULL, new);
    kit_add(kit, TENSOR_I64, 1, ELEMENTS / 2, old, new);
}

static void decode_any(struct kit *kit, enum delta_effort effort)
{
    bool same;
    const enum err e = kit_decode(kit, effort, KIT_MEMORY, &same);
    assert_true(e == ERR_OK || e == ERR_CORRUPT || e == ERR_UNSUPPORTED);
}

static void test_mutated(void **state)
{
    (void)state;
    uint64_t seed = 1;
    struct kit kit;
    kit_fill(&kit);
    for (int effort = DELTA_FAST; effort <= DELTA_BEST; effort++) {
        kit_encode(&kit, (enum delta_effort)effort, 1);
        for (int i = 0; i < MUTATIONS; i++) {
            /* half of them near the beginning, where the plans are */
            const size_t at = kit_random(&seed) % (i % 2 == 0 ? kit.delta.len : 40);
            const char was = kit.delta.data[at];
            kit.delta.data[at] = (char)kit_random(&seed);
            decode_any(&kit, (enum delta_effort)effort);
            kit.delta.data[at] = was;
        }
    }
    kit_free(&kit);
}

static void test_cut(void **state)
{
    (void)state;
    struct kit kit;
    bool same;
    kit_fill(&kit);
    kit_encode(&kit, DELTA_FAST, 1);
    const size_t len = kit.delta.len;
    for (size_t cut = 0; cut < len; cut += 1 + cut / 16) {
        kit.delta.len = cut;
        assert_int_equal(kit_decode(&kit, DELTA_FAST, KIT_MEMORY, &same), ERR_CORRUPT);
    }
    kit_free(&kit);
}

/* Noise behind every method and every kind of plan. */
static void test_noise(void **state)
{
    (void)state;
    uint64_t seed = 2;
    struct kit kit;
    kit_fill(&kit);
    kit_encode(&kit, DELTA_FAST, 1);
    for (int i = 0; i < 4000; i++) {
        for (size_t at = 0; at < kit.delta.len; at++)
            kit.delta.data[at] = (char)kit_random(&seed);
        const size_t left = kit.delta.len - 3; /* one group, all of it */
        kit.delta.data[0] = (char)(left | 0x80);
        kit.delta.data[1] = (char)(left >> 7 | 0x80);
        kit.delta.data[2] = (char)(left >> 14 & 0x7f);
        kit.delta.data[3] = (char)(i % 16);
        kit.delta.data[4] = (char)(i / 16 % 5);
        kit.delta.data[5] = (char)(i / 80 % 18);
        decode_any(&kit, i % 8 == 0 ? DELTA_BEST : DELTA_FAST);
    }
    kit_free(&kit);
}

/* A tensor with slices, which several threads rebuild: head, lengths and slices that are not what they were. */
static void test_slices_mutated(void **state)
{
    (void)state;
    enum { SIDE = 1024 };
    uint64_t seed = 3;
    float *old = calloc((size_t)SIDE * SIDE, sizeof *old), *new = calloc((size_t)SIDE * SIDE, sizeof *new);
    float down[SIDE], across[SIDE];
    bool same;
    if (old == NULL || new == NULL)
        abort();
    for (int i = 0; i < SIDE; i++) {
        down[i] = (float)kit_normal(&seed);
        across[i] = (float)kit_normal(&seed);
    }
    for (int i = 0; i < SIDE * SIDE; i++) {
        old[i] = (float)kit_normal(&seed);
        new[i] = old[i] + 1e-3F * down[i / SIDE] * across[i % SIDE];
    }
    struct kit kit;
    kit_init(&kit);
    kit_add(&kit, TENSOR_F32, SIDE, SIDE, old, new);
    kit_encode(&kit, DELTA_FAST, 2);
    assert_string_equal(tensors_method_name(kit.methods[0]), "low rank");
    assert_int_equal(kit_decode(&kit, DELTA_FAST, KIT_MEMORY, &same), ERR_OK);
    assert_true(same);
    for (int i = 0; i < 90; i++) {
        const size_t at = kit_random(&seed) % (i % 3 == 0 ? kit.delta.len : i % 3 == 1 ? 16U : 4096U);
        const char was = kit.delta.data[at];
        kit.delta.data[at] = (char)kit_random(&seed);
        decode_any(&kit, DELTA_FAST);
        kit.delta.data[at] = was;
    }
    const size_t len = kit.delta.len;
    for (kit.delta.len = len - 1; kit.delta.len > 4; kit.delta.len /= 2)
        assert_int_equal(kit_decode(&kit, DELTA_FAST, KIT_MEMORY, &same), ERR_CORRUPT);
    kit_free(&kit);
    free(old);
    free(new);
}

static void test_memory(void **state)
{
    (void)state;
    struct kit kit;
    bool same;
    kit_fill(&kit);
    kit_encode(&kit, DELTA_BEST, 1);
    assert_int_equal(kit_decode(&kit, DELTA_BEST, 4096, &same), ERR_UNSUPPORTED);
    assert_int_equal(kit_decode(&kit, DELTA_BEST, 1 << 20, &same), ERR_UNSUPPORTED);
    kit_free(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mutated),        cmocka_unit_test(test_cut),    cmocka_unit_test(test_noise),
        cmocka_unit_test(test_slices_mutated), cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
