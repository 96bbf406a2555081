/* Every way a model changes is found, and pays: merged adapters, grids, weight decay, new scales, tables. */
#include "tensor_kit.h"

#include <math.h>

enum { ROWS = 96, COLS = 160, ELEMENTS = ROWS * COLS };

static float old32[ELEMENTS], new32[ELEMENTS];

static void weights_fill(uint64_t seed)
{
    for (int i = 0; i < ELEMENTS; i++)
        old32[i] = (float)(0.05 * kit_normal(&seed));
}

/* Codes one pair there and back; checks the method by its name, and the size against a part of the tensor. */
static void check(struct kit *kit, size_t at, const char *method, double most)
{
    const size_t size = kit_check(kit);
    assert_string_equal(tensors_method_name(kit->methods[at]), method);
    assert_in_range(size, 1, (uintmax_t)((double)kit->new.len *most));
    kit_free(kit);
}

static void test_low_rank(void **state)
{
    (void)state;
    enum { RANK = 3 };
    uint64_t seed = 1;
    double down[ROWS][RANK], across[RANK][COLS];
    weights_fill(2);
    for (int r = 0; r < RANK; r++) {
        for (int i = 0; i < ROWS; i++)
            down[i][r] = 0.01 * kit_normal(&seed);
        for (int j = 0; j < COLS; j++)
            across[r][j] = 0.3 * kit_normal(&seed);
    }
    for (int i = 0; i < ELEMENTS; i++) {
        double update = 0;
        for (int r = 0; r < RANK; r++)
            update += down[i / COLS][r] * across[r][i % COLS];
        new32[i] = (float)((double)old32[i] + update);
    }
    struct kit kit;
    kit_init(&kit);
    kit_add(&kit, TENSOR_F32, ROWS, COLS, old32, new32);
    check(&kit, 0, "low rank", 0.12);
}

/* Where the update tells every number but for its rounding, the side of the exact value does the rest. */
static void test_merged_adapter(void **state)
{
    (void)state;
    enum { SIDE = 384, RANK = 4 };
    uint64_t seed = 11;
    float *old = calloc((size_t)SIDE * SIDE, sizeof *old), *new = calloc((size_t)SIDE * SIDE, sizeof *new);
    float down[SIDE][RANK], across[RANK][SIDE];
    assert_non_null(old);
    assert_non_null(new);
    for (int i = 0; i < SIDE * RANK; i++) {
        down[i / RANK][i % RANK] = (float)(0.01 * kit_normal(&seed));
        across[i % RANK][i / RANK] = (float)(0.3 * kit_normal(&seed));
    }
    for (int i = 0; i < SIDE * SIDE; i++) {
        float update = 0;
        for (int r = 0; r < RANK; r++)
            update += down[i / SIDE][r] * across[r][i % SIDE];
        old[i] = (float)(0.05 * kit_normal(&seed));
        new[i] = old[i] + update;
    }
    struct kit kit;
    kit_init(&kit);
    kit_add(&kit, TENSOR_F32, SIDE, SIDE, old, new);
    check(&kit, 0, "low rank", 0.0715);
    free(old);
    free(new);
}

static void test_grid(void **state)
{
    (void)state;
    uint64_t seed = 3;
    weights_fill(4);
    for (int i = 0; i < ELEMENTS; i++)
        new32[i] = (float)((double)old32[i] + rint(kit_normal(&seed)) * 0x1p-12);
    struct kit kit;
    kit_init(&kit);
    kit_add(&kit, TENSOR_F32, ROWS, COLS, old32, new32);
    check(&kit, 0, "grid", 2.3 / 32);
}

/* A part without gradients, the rest with noise. */
static void test_weight_decay(void **state)
{
    (void)state;
    uint64_t seed = 5;
    weights_fill(6);
    const float decay = 1 - 1e-5F;
    for (int i = 0; i < ELEMENTS; i++) {
        new32[i] = old32[i];
        for (int step = 0; step < 70; step++)
            new32[i] *= decay;
        if (i / COLS % 3 == 0)
            new32[i] = (float)((double)new32[i] + 1e-4 * kit_normal(&seed));
    }
    struct kit kit;
    kit_init(&kit);
    kit_add(&kit, TENSOR_F32, ROWS, COLS, old32, new32);
    check(&kit, 0, "weight decay", 0.22);
}

/* Weights move by less than a step, scales by 3 %. */
static void test_rescaled(void **state)
{
    (void)state;
    uint64_t seed = 7;
    static int8_t old[ELEMENTS], new[ELEMENTS];
    float scales[2][ROWS];
    for (int i = 0; i < ROWS; i++) {
        scales[0][i] = (float)(0.01 + 1e-4 * i);
        scales[1][i] = scales[0][i] * (i % 2 == 0 ? 1.03F : 0.96F);
    }
    for (int i = 0; i < ELEMENTS; i++) {
        const double weight = 0.3 * kit_normal(&seed);
        old[i] = (int8_t)fmax(-127, fmin(127, rint(weight / (double)scales[0][i / COLS])));
        new[i] = (int8_t)fmax(-127, fmin(127, rint(weight / (double)scales[1][i / COLS])));
    }
    struct kit kit;
    kit_init(&kit);
    const struct tensor_pair *s = kit_add(&kit, TENSOR_F32, 1, ROWS, scales[0], scales[1]);
    struct tensor_pair *q = kit_add(&kit, TENSOR_I8, ROWS, COLS, old, new);
    q->old_scales = s->old_offset;
    q->new_scales = s->new_offset;
    q->scale_count = ROWS;
    check(&kit, 1, "rescaled", 0.16);
}

/* A table without an old one. */
static void test_packed(void **state)
{
    (void)state;
    static int64_t table[ELEMENTS];
    for (int i = 0; i < ELEMENTS; i++)
        table[i] = (int64_t)(i % 97) * 1000003;
    struct kit kit;
    kit_init(&kit);
    kit_add(&kit, TENSOR_I64, ROWS, COLS, NULL, table);
    check(&kit, 0, "packed", 0.01);
}

/* Exponents of weights are worth coding, mantissas are noise. */
static void test_literal(void **state)
{
    (void)state;
    weights_fill(8);
    struct kit kit;
    kit_init(&kit);
    kit_add(&kit, TENSOR_F32, ROWS, COLS, NULL, old32);
    check(&kit, 0, "literal", 27.0 / 32);
}

static void test_same(void **state)
{
    (void)state;
    weights_fill(9);
    struct kit kit;
    kit_init(&kit);
    kit_add(&kit, TENSOR_F32, ROWS, COLS, old32, old32);
    check(&kit, 0, "same", 0.0001);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_low_rank),     cmocka_unit_test(test_merged_adapter), cmocka_unit_test(test_grid),
        cmocka_unit_test(test_weight_decay), cmocka_unit_test(test_rescaled),       cmocka_unit_test(test_packed),
        cmocka_unit_test(test_literal),      cmocka_unit_test(test_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
