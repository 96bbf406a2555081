/* Models in deltas: tensors are found where they are, paired with the right ones, and never in what only looks like a
 * model. */
#include "tests/unit/delta_kit.h"

#include "common/delta/container.h"
#include "common/delta/pairing.h"

#include <endian.h>

enum { ONNX_F32 = 1, ONNX_U8 = 2, ONNX_I8 = 3, ONNX_STRING = 8, ROWS = 16, COLS = 72, COUNT = ROWS * COLS };

static struct container read_of(const struct buf *file)
{
    struct container c;
    assert_int_equal(container_read((const uint8_t *)file->data, file->len, &c), ERR_OK);
    return c;
}

static const struct container_tensor *tensor_of(const struct container *c, const char *name)
{
    size_t i = container_find(c, name, strlen(name));
    assert_true(i < c->count);
    return &c->tensors[i];
}

static struct buf empty(void)
{
    return BUF_INIT(KIT_FILE_MAX);
}

/* A node: op, inputs (NULL ends), and perhaps an axis. */
static void node_add(struct buf *graph, const char *op, const char *const *inputs, int64_t axis)
{
    cleanup_buf struct buf node = empty();
    for (; *inputs != NULL; inputs++)
        kit_text(&node, 1, *inputs);
    kit_text(&node, 2, "out");
    kit_text(&node, 4, op);
    if (axis >= 0) {
        cleanup_buf struct buf attribute = empty();
        kit_text(&attribute, 1, "axis");
        kit_number(&attribute, 3, (uint64_t)axis);
        kit_field(&node, 5, attribute.data, attribute.len);
    }
    kit_field(graph, 1, node.data, node.len);
}

/* conv weights, a bias, a constant inside a node, what is no tensor for us, and an int8 tensor with its scales. */
static struct buf model_of(uint64_t seed, float moved, const char *prefix)
{
    static const uint64_t conv[] = {ROWS, 8, 3, 3};
    static const uint64_t matrix[] = {ROWS, COLS};
    static const uint64_t rows[] = {ROWS};
    struct buf model = empty();
    cleanup_buf struct buf graph = empty();
    cleanup_buf struct buf constant = empty();
    cleanup_buf struct buf attribute = empty();
    cleanup_buf struct buf node = empty();
    cleanup_free float *w = kit_weights(COUNT, seed, moved);
    cleanup_free float *k = kit_weights(COUNT, seed + 1, moved);
    cleanup_free float *scales = kit_weights(ROWS, seed + 2, moved);
    int8_t q[COUNT];
    char name[64];
    for (size_t i = 0; i < COUNT; i++)
        q[i] = (int8_t)(w[i] * 1000);
    kit_tensor(&constant, "", ONNX_F32, matrix, 2, k, sizeof(float) * COUNT);
    kit_field(&attribute, 5, constant.data, constant.len);
    kit_text(&node, 2, "k");
    kit_text(&node, 4, "Constant");
    kit_field(&node, 5, attribute.data, attribute.len);
    kit_field(&graph, 1, node.data, node.len);
    node_add(&graph, "DequantizeLinear", (const char *const[]){"q", "qs", "zero", NULL}, 0);
    (void)snprintf(name, sizeof name, "%sw", prefix);
    kit_initializer(&graph, name, ONNX_F32, conv, 4, w, sizeof(float) * COUNT);
    kit_initializer(&graph, "q", ONNX_I8, matrix, 2, q, sizeof q);
    kit_initializer(&graph, "qs", ONNX_F32, rows, 1, scales, sizeof(float) * ROWS);
    kit_initializer(&graph, "names", ONNX_STRING, rows, 1, scales, ROWS);
    kit_initializer(&graph, "wrong size", ONNX_F32, matrix, 2, w, 100);
    kit_model(&model, &graph);
    return model;
}

static void onnx_is_read(void **state)
{
    (void)state;
    cleanup_buf struct buf model = model_of(1, 0, "");
    struct container c = read_of(&model);
    assert_int_equal(c.kind, FORMAT_ONNX);
    assert_int_equal(c.count, 4);
    const struct container_tensor *w = tensor_of(&c, "w");
    assert_int_equal(w->rows, ROWS);
    assert_int_equal(w->cols, COLS);
    assert_int_equal(w->kernel, 9);
    assert_int_equal(w->type, TENSOR_F32);
    assert_int_equal(tensor_of(&c, "k")->kernel, 1);
    const struct container_tensor *q = tensor_of(&c, "q");
    assert_int_equal(q->type, TENSOR_I8);
    assert_int_equal(q->scale_count, ROWS);
    assert_int_equal(q->scales, tensor_of(&c, "qs")->offset);
    assert_int_equal(container_find(&c, "names", 5), SIZE_MAX);
    assert_int_equal(container_find(&c, "wrong size", 10), SIZE_MAX);
    float first;
    memcpy(&first, model.data + w->offset, sizeof first);
    cleanup_free float *weights = kit_weights(COUNT, 1, 0);
    assert_true(first == weights[0]);
    container_free(&c);
}

/* Scales along columns are not those of rows, and a name may say it where no node does. */
static void scales_are_those_of_rows(void **state)
{
    static const uint64_t square[] = {ROWS, ROWS};
    static const uint64_t rows[] = {ROWS};
    int8_t q[ROWS * ROWS] = {0};
    float scales[ROWS] = {0};
    (void)state;
    for (int axis = 0; axis < 2; axis++) {
        cleanup_buf struct buf graph = empty();
        cleanup_buf struct buf model = empty();
        kit_initializer(&graph, "a", ONNX_I8, square, 2, q, sizeof q);
        kit_initializer(&graph, "s", ONNX_F32, rows, 1, scales, sizeof scales);
        kit_initializer(&graph, "fc_quantized", ONNX_U8, square, 2, q, sizeof q);
        kit_initializer(&graph, "fc_scale", ONNX_F32, rows, 1, scales, 4);
        kit_initializer(&graph, "fc2_q", ONNX_U8, square, 2, q, sizeof q);
        kit_initializer(&graph, "fc2_scale", ONNX_F32, rows, 1, scales, sizeof scales);
        node_add(&graph, "DequantizeLinear", (const char *const[]){"a", "s", NULL}, axis);
        kit_model(&model, &graph);
        struct container c = read_of(&model);
        assert_int_equal(tensor_of(&c, "a")->scale_count, axis == 0 ? ROWS : 0);
        assert_int_equal(tensor_of(&c, "fc_quantized")->scale_count, 0); /* its scales are cut off */
        assert_int_equal(tensor_of(&c, "fc2_q")->scale_count, ROWS);
        container_free(&c);
    }
}

static struct buf safetensors_of(const char *header, size_t data)
{
    struct buf file = empty();
    uint64_t len = htole64(strlen(header));
    cleanup_free uint8_t *bytes = calloc(1, data + 1);
    assert_non_null(bytes);
    assert_int_equal(buf_add(&file, &len, 8), ERR_OK);
    assert_int_equal(buf_add_text(&file, header), ERR_OK);
    assert_int_equal(buf_add(&file, bytes, data), ERR_OK);
    return file;
}

static void safetensors_is_read(void **state)
{
    (void)state;
    cleanup_buf struct buf file = safetensors_of("{\"__metadata__\":{\"format\":\"pt\"},"
                                                 "\"a\":{\"dtype\":\"BF16\",\"shape\":[4,6],\"data_offsets\":[0,48]},"
                                                 "\"b\":{\"dtype\":\"F8_E4M3\",\"shape\":[4],\"data_offsets\":[48,52]},"
                                                 "\"c\":{\"dtype\":\"I64\",\"shape\":[6],\"data_offsets\":[52,100]}}  ",
                                                 100);
    struct container c = read_of(&file);
    assert_int_equal(c.kind, FORMAT_SAFETENSORS);
    assert_int_equal(c.count, 2);
    assert_int_equal(tensor_of(&c, "a")->type, TENSOR_BF16);
    assert_int_equal(tensor_of(&c, "a")->bytes, 48);
    assert_int_equal(tensor_of(&c, "c")->offset, (int64_t)file.len - 48);
    container_free(&c);
}

static void what_only_looks_like_a_model(void **state)
{
    static const char *const headers[] = {
        "{}",
        "[1]",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,1000]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[16,0]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[-4],\"data_offsets\":[0,16]}}",
        "{\"a\":{\"dtype\":4,\"shape\":[4],\"data_offsets\":[0,16]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}",
        "{\"a\":7}",
        "{\"a\":{\"dtype\":\"F32\"",
    };
    (void)state;
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        cleanup_buf struct buf file = safetensors_of(headers[i], 64);
        struct container c = read_of(&file);
        assert_int_equal(c.kind, FORMAT_BINARY);
        assert_int_equal(c.count, 0);
        container_free(&c);
    }
}

/* Tensors that share bytes: only one of them is taken. */
static void overlapping(void **state)
{
    (void)state;
    cleanup_buf struct buf file = safetensors_of("{\"a\":{\"dtype\":\"F32\",\"shape\":[16],\"data_offsets\":[0,64]},"
                                                 "\"b\":{\"dtype\":\"F32\",\"shape\":[16],\"data_offsets\":[32,96]}}",
                                                 96);
    struct container c = read_of(&file);
    assert_int_equal(c.count, 1);
    container_free(&c);
    (void)kit_round_trip(file.data, file.len, file.data, file.len - 1, DELTA_FAST, NULL);
}

/* Cut off or damaged anywhere: some container, or none, and always a delta that works. */
static void damaged_models(void **state)
{
    (void)state;
    uint64_t seed = 3;
    cleanup_buf struct buf model = model_of(1, 0, "");
    for (size_t len = 0; len < model.len; len += 1 + len / 50) {
        struct container c;
        assert_int_equal(container_read((const uint8_t *)model.data, len, &c), ERR_OK);
        assert_int_equal(c.kind, FORMAT_BINARY); /* the graph is longer than the file */
        container_free(&c);
    }
    for (int round = 0; round < 3000; round++) {
        struct container c;
        size_t at = kit_random(&seed) % model.len;
        size_t at_head = kit_random(&seed) % 200;
        char kept[2] = {model.data[at], model.data[at_head]};
        model.data[at] = (char)kit_random(&seed);
        model.data[at_head] = (char)kit_random(&seed);
        assert_int_equal(container_read((const uint8_t *)model.data, model.len, &c), ERR_OK);
        for (size_t i = 0; i < c.count; i++)
            assert_true(c.tensors[i].offset >= 0 && c.tensors[i].bytes >= 0 &&
                        c.tensors[i].offset + c.tensors[i].bytes <= (int64_t)model.len);
        container_free(&c);
        if (round % 100 == 0)
            (void)kit_round_trip(model.data, model.len, model.data, model.len, DELTA_FAST, NULL);
        model.data[at_head] = kept[1];
        model.data[at] = kept[0];
    }
}

static const struct tensor_pair *pair_at(const struct pairing *p, int64_t new_offset)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->pairs[i].new_offset == new_offset)
            return &p->pairs[i];
    return NULL;
}

static struct pairing pairing_of(const struct buf *old, const struct buf *new)
{
    struct pairing p;
    struct tensor_files files = {.old = (const uint8_t *)old->data,
                                 .old_size = old->len,
                                 .new = (const uint8_t *)new->data,
                                 .new_size = new->len};
    assert_int_equal(pairing_make(&files, &p), ERR_OK);
    return p;
}

static void pairs_by_name(void **state)
{
    (void)state;
    cleanup_buf struct buf old = model_of(1, 0, "");
    cleanup_buf struct buf new = model_of(1, 0.01F, "");
    struct container o = read_of(&old);
    struct container n = read_of(&new);
    struct pairing p = pairing_of(&old, &new);
    assert_int_equal(p.container, FORMAT_ONNX);
    assert_int_equal(p.count, 4);
    const struct tensor_pair *q = pair_at(&p, tensor_of(&n, "q")->offset);
    assert_non_null(q);
    assert_int_equal(q->old_offset, tensor_of(&o, "q")->offset);
    assert_int_equal(q->old_scales, tensor_of(&o, "qs")->offset);
    assert_int_equal(q->new_scales, tensor_of(&n, "qs")->offset);
    assert_int_equal(p.pairs[0].new_offset, q->new_scales); /* scales come before what they scale */
    pairing_free(&p);
    container_free(&o);
    container_free(&n);
}

/* Names that were given anew, and names that moved on to other tensors. */
static void pairs_by_closeness(void **state)
{
    static const uint64_t matrix[] = {ROWS, COLS};
    static const char *const old_names[] = {"m1", "m2", "m3"};
    static const char *const new_names[] = {"m2", "m3", "x"};
    struct buf files[2];
    (void)state;
    for (int f = 0; f < 2; f++) {
        cleanup_buf struct buf graph = empty();
        files[f] = empty();
        for (uint64_t i = 0; i < 3; i++) {
            cleanup_free float *w = kit_weights(COUNT, 10 + i, f == 0 ? 0 : 0.02F);
            kit_initializer(&graph, f == 0 ? old_names[i] : new_names[i], ONNX_F32, matrix, 2, w,
                            sizeof(float) * COUNT);
        }
        kit_model(&files[f], &graph);
    }
    struct container o = read_of(&files[0]);
    struct container n = read_of(&files[1]);
    struct pairing p = pairing_of(&files[0], &files[1]);
    for (size_t i = 0; i < 3; i++) {
        const struct tensor_pair *pair = pair_at(&p, tensor_of(&n, new_names[i])->offset);
        assert_non_null(pair);
        assert_int_equal(pair->old_offset, tensor_of(&o, old_names[i])->offset);
    }
    pairing_free(&p);
    container_free(&o);
    container_free(&n);
    buf_free(&files[0]);
    buf_free(&files[1]);
}

static void models_there_and_back(void **state)
{
    (void)state;
    cleanup_buf struct buf old = model_of(1, 0, "");
    cleanup_buf struct buf same_names = model_of(1, 0.01F, "");
    cleanup_buf struct buf moved = model_of(1, 0.01F, "a longer name that moves all offsets/");
    cleanup_buf struct buf other = model_of(99, 0, "");
    const struct buf *const news[] = {&old, &same_names, &moved, &other};
    for (size_t i = 0; i < 4; i++)
        for (int effort = DELTA_FAST; effort <= DELTA_BEST; effort++) {
            struct delta_info about;
            (void)kit_round_trip(old.data, old.len, news[i]->data, news[i]->len, (enum delta_effort)effort, &about);
            int64_t told = 0;
            for (size_t k = 0; k < about.method_count; k++)
                told += about.methods[k].tensors;
            assert_int_equal(told, about.tensors);
        }
    (void)kit_round_trip(old.data, old.len, "no model", 8, DELTA_FAST, NULL);
    (void)kit_round_trip("no model", 8, old.data, old.len, DELTA_FAST, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(onnx_is_read),          cmocka_unit_test(scales_are_those_of_rows),
        cmocka_unit_test(safetensors_is_read),   cmocka_unit_test(what_only_looks_like_a_model),
        cmocka_unit_test(overlapping),           cmocka_unit_test(damaged_models),
        cmocka_unit_test(pairs_by_name),         cmocka_unit_test(pairs_by_closeness),
        cmocka_unit_test(models_there_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
