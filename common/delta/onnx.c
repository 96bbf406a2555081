/* ONNX: protobuf, of which only the way to initializers and Constant nodes is known. */
#include "common/delta/container.h"

#include <string.h>

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5, GRAPH_DEPTH_MAX = 8 };

/* Numbers of fields, from onnx.proto. */
enum {
    MODEL_GRAPH = 7,
    GRAPH_NODE = 1,
    GRAPH_INITIALIZER = 5,
    NODE_INPUT = 1,
    NODE_OUTPUT = 2,
    NODE_OP_TYPE = 4,
    NODE_ATTRIBUTE = 5,
    ATTRIBUTE_NAME = 1,
    ATTRIBUTE_I = 3,
    ATTRIBUTE_T = 5,
    ATTRIBUTE_G = 6,
    TENSOR_DIMS = 1,
    TENSOR_DATA_TYPE = 2,
    TENSOR_FLOAT_DATA = 4,
    TENSOR_NAME = 8,
    TENSOR_RAW_DATA = 9,
    TENSOR_DOUBLE_DATA = 10,
    TENSOR_DATA_LOCATION = 14
};

struct message {
    const uint8_t *at, *end;
};

struct field {
    uint32_t number;
    unsigned wire;
    uint64_t value;       /* WIRE_VARINT */
    struct message bytes; /* WIRE_BYTES */
};

static bool varint_next(struct message *m, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && m->at < m->end; shift += 7) {
        uint8_t byte = *m->at++;
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

/* The next field. False at the end; *broken is set when what is there is no field. */
static bool field_next(struct message *m, struct field *f, bool *broken)
{
    uint64_t tag = 0;
    uint64_t len = 0;
    if (m->at == m->end || *broken)
        return false;
    *f = (struct field){0};
    *broken = true;
    if (!varint_next(m, &tag) || tag >> 3 == 0 || tag >> 3 > 0x1fffffff)
        return false;
    f->number = (uint32_t)(tag >> 3);
    f->wire = (unsigned)tag & 7;
    if (f->wire == WIRE_VARINT) {
        if (!varint_next(m, &f->value))
            return false;
    } else if (f->wire == WIRE_BYTES || f->wire == WIRE_64 || f->wire == WIRE_32) {
        len = f->wire == WIRE_64 ? 8 : 4;
        if ((f->wire == WIRE_BYTES && !varint_next(m, &len)) || len > (uint64_t)(m->end - m->at))
            return false;
        f->bytes = (struct message){.at = m->at, .end = m->at + len};
        m->at += len;
    } else {
        return false;
    }
    *broken = false;
    return true;
}

static bool is_text(struct message m, const char *text)
{
    size_t len = (size_t)(m.end - m.at);
    return len == strlen(text) && memcmp(m.at, text, len) == 0;
}

/* ---- tensors ---- */

struct onnx {
    const uint8_t *file;
    struct container *container;
    bool broken;
};

static bool type_of(uint64_t onnx_type, enum tensor_type *ret_type)
{
    static const struct {
        uint64_t onnx;
        enum tensor_type type;
    } types[] = {{1, TENSOR_F32},  {2, TENSOR_U8},   {3, TENSOR_I8},   {4, TENSOR_I16},
                 {5, TENSOR_I16},  {6, TENSOR_I32},  {7, TENSOR_I64},  {10, TENSOR_F16},
                 {11, TENSOR_F64}, {12, TENSOR_I32}, {13, TENSOR_I64}, {16, TENSOR_BF16}};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (types[i].onnx == onnx_type) {
            *ret_type = types[i].type;
            return true;
        }
    return false;
}

/* Dimensions, one by one or packed; too many of them: none fits. */
static void dims_take(struct onnx *o, struct container_shape *shape, struct field *f)
{
    uint64_t value = f->value;
    if (f->wire == WIRE_VARINT && shape->rank < CONTAINER_DIMS_MAX) {
        shape->dims[shape->rank++] = value;
        return;
    }
    while (f->wire == WIRE_BYTES && f->bytes.at < f->bytes.end) {
        if (!varint_next(&f->bytes, &value)) {
            o->broken = true;
            return;
        }
        if (shape->rank < CONTAINER_DIMS_MAX)
            shape->dims[shape->rank++] = value;
    }
}

/* name: of the node whose constant it is; NULL for an initializer. */
static enum err tensor_read(struct onnx *o, struct message m, const struct message *name)
{
    struct container_shape shape = {0};
    struct message data = {0};
    struct field f;
    uint64_t type = 0;
    bool external = false;
    while (field_next(&m, &f, &o->broken)) {
        bool bytes = f.wire == WIRE_BYTES;
        if (f.number == TENSOR_DIMS) {
            dims_take(o, &shape, &f);
        } else if (f.number == TENSOR_DATA_TYPE && f.wire == WIRE_VARINT) {
            type = f.value;
        } else if (f.number == TENSOR_NAME && bytes) {
            shape.name = f.bytes.at;
            shape.name_len = (size_t)(f.bytes.end - f.bytes.at);
        } else if (bytes &&
                   (f.number == TENSOR_RAW_DATA || f.number == TENSOR_FLOAT_DATA || f.number == TENSOR_DOUBLE_DATA)) {
            external = external || data.at != NULL; /* two of them: not for us */
            data = f.bytes;
        } else if (f.number == TENSOR_DATA_LOCATION && f.wire == WIRE_VARINT) {
            external = external || f.value != 0;
        }
    }
    if (name != NULL) {
        shape.name = name->at;
        shape.name_len = (size_t)(name->end - name->at);
    }
    if (shape.name == NULL)
        shape.name = (const uint8_t *)"";
    if (o->broken || external || data.at == NULL || !type_of(type, &shape.type))
        return ERR_OK;
    return container_add(o->container, &shape, data.at - o->file, (uint64_t)(data.end - data.at));
}

/* ---- graphs ---- */

static enum err graph_read(struct onnx *o, struct message m, int depth);

static enum err attribute_read(struct onnx *o, struct message m, const struct message *name, int depth)
{
    struct field f;
    enum err e = ERR_OK;
    while (e == ERR_OK && field_next(&m, &f, &o->broken)) {
        if (f.number == ATTRIBUTE_T && f.wire == WIRE_BYTES)
            e = tensor_read(o, f.bytes, name);
        else if (f.number == ATTRIBUTE_G && f.wire == WIRE_BYTES)
            e = graph_read(o, f.bytes, depth + 1);
    }
    return e;
}

static enum err node_read(struct onnx *o, struct message m, int depth)
{
    struct message output = {.at = (const uint8_t *)"", .end = (const uint8_t *)""};
    struct message names = m;
    struct field f;
    enum err e = ERR_OK;
    while (field_next(&names, &f, &o->broken))
        if (f.number == NODE_OUTPUT && f.wire == WIRE_BYTES && output.at == output.end)
            output = f.bytes;
    while (e == ERR_OK && field_next(&m, &f, &o->broken))
        if (f.number == NODE_ATTRIBUTE && f.wire == WIRE_BYTES)
            e = attribute_read(o, f.bytes, &output, depth);
    return e;
}

static enum err graph_read(struct onnx *o, struct message m, int depth)
{
    struct field f;
    enum err e = ERR_OK;
    if (depth > GRAPH_DEPTH_MAX)
        return ERR_OK;
    while (e == ERR_OK && field_next(&m, &f, &o->broken)) {
        if (f.number == GRAPH_INITIALIZER && f.wire == WIRE_BYTES)
            e = tensor_read(o, f.bytes, NULL);
        else if (f.number == GRAPH_NODE && f.wire == WIRE_BYTES)
            e = node_read(o, f.bytes, depth);
    }
    return e;
}

/* ---- scales ---- */

enum { INPUTS = 8 };

struct node {
    struct message op, inputs[INPUTS];
    size_t input_count;
    int64_t axis;
};

static void node_parse(struct onnx *o, struct message m, struct node *n)
{
    struct field f;
    *n = (struct node){.axis = 1};
    while (field_next(&m, &f, &o->broken)) {
        if (f.number == NODE_INPUT && f.wire == WIRE_BYTES) {
            if (n->input_count < INPUTS)
                n->inputs[n->input_count++] = f.bytes;
        } else if (f.number == NODE_OP_TYPE && f.wire == WIRE_BYTES) {
            n->op = f.bytes;
        } else if (f.number == NODE_ATTRIBUTE && f.wire == WIRE_BYTES) {
            struct field a;
            bool axis = false;
            while (field_next(&f.bytes, &a, &o->broken)) {
                axis = axis || (a.number == ATTRIBUTE_NAME && a.wire == WIRE_BYTES && is_text(a.bytes, "axis"));
                if (axis && a.number == ATTRIBUTE_I && a.wire == WIRE_VARINT)
                    n->axis = (int64_t)a.value;
            }
        }
    }
}

/* Input x of the node is scaled by input x + 1. A scale per channel counts when channels are rows. */
static void scale_take(struct onnx *o, const struct node *n, size_t x, bool per_row)
{
    if (x + 1 >= n->input_count)
        return;
    size_t found[2];
    for (size_t i = 0; i < 2; i++) {
        struct message name = n->inputs[x + i];
        found[i] = container_find(o->container, (const char *)name.at, (size_t)(name.end - name.at));
    }
    container_scale(o->container, found[0], found[1], per_row);
}

static void scales_read(struct onnx *o, struct message graph)
{
    struct field f;
    struct node n;
    while (field_next(&graph, &f, &o->broken)) {
        if (f.number != GRAPH_NODE || f.wire != WIRE_BYTES)
            continue;
        node_parse(o, f.bytes, &n);
        if (n.op.at == NULL)
            continue;
        if (is_text(n.op, "DequantizeLinear")) {
            scale_take(o, &n, 0, n.axis == 0);
        } else if (is_text(n.op, "QLinearConv")) {
            scale_take(o, &n, 3, true);
        } else if (is_text(n.op, "QLinearMatMul")) {
            scale_take(o, &n, 0, true);
            scale_take(o, &n, 3, false);
        } else if (is_text(n.op, "QGemm")) {
            scale_take(o, &n, 3, false);
        }
    }
}

enum err onnx_read(const uint8_t *bytes, size_t size, struct container *container, bool *ret_is)
{
    struct onnx o = {.file = bytes, .container = container};
    struct message model = {.at = bytes, .end = bytes + size};
    struct message graph = {0};
    struct field f;
    while (field_next(&model, &f, &o.broken))
        if (f.number == MODEL_GRAPH && f.wire == WIRE_BYTES)
            graph = f.bytes;
    if (o.broken || graph.at == NULL)
        return ERR_OK;
    enum err e = graph_read(&o, graph, 0);
    container_sort(container);
    if (e == ERR_OK && !o.broken)
        scales_read(&o, graph);
    *ret_is = e == ERR_OK && !o.broken && container->count > 0;
    return e;
}
