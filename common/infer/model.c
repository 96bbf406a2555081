#include "common/infer/model.h"

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/text.h"
#include "common/infer/quiet.h"

#include <inttypes.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OUTPUTS_MAX = 64, SHAPE_TEXT = 192 };
static const size_t MODEL_BYTES_MAX = (size_t)2 << 30; /* of protobuf */
static const int64_t INPUT_FLOATS_MAX = (int64_t)1 << 28;

struct model {
    struct runtime runtime; /* borrowed; its env outlives the model */
    char sha256[SHA256_HEX];
    char shape_text[SHAPE_TEXT];
    OrtSession *session;
    char *input_name;
    size_t output_count;
    char *output_names[OUTPUTS_MAX];
    OrtValue *outputs[OUTPUTS_MAX]; /* of the latest run */
    size_t rank;
    int64_t shape[MODEL_RANK_MAX];
    size_t len;
    float *input;
    OrtValue *input_value; /* over input */
};

/* ---------------------------------------------------------------- loading */

/* One thread and no arena: a device has more to do than this, and the arena keeps what the largest run once needed. */
static enum err session_create(struct model *m, const void *bytes, size_t len, struct err_info *info)
{
    const OrtApi *api = m->runtime.api;
    OrtSessionOptions *options = NULL;
    OrtStatus *status = api->CreateSessionOptions(&options);
    if (status == NULL)
        status = api->SetIntraOpNumThreads(options, 1);
    if (status == NULL)
        status = api->SetInterOpNumThreads(options, 1);
    if (status == NULL)
        status = api->SetSessionExecutionMode(options, ORT_SEQUENTIAL);
    if (status == NULL)
        status = api->DisableCpuMemArena(options);
    enum err e = runtime_check(&m->runtime, status, ERR_INTERNAL, "ONNX Runtime refuses its options", info);
    if (e == ERR_OK) {
        int token = quiet_begin();
        status = api->CreateSessionFromArray(m->runtime.env, bytes, len, options, &m->session);
        quiet_end(token);
        e = runtime_check(&m->runtime, status, ERR_INVALID, "ONNX Runtime cannot load it", info);
    }
    if (options != NULL)
        api->ReleaseSessionOptions(options);
    return e;
}

static enum err file_load(struct model *m, const char *path, const struct model_spec *spec, struct err_info *info)
{
    cleanup_free char *bytes = NULL;
    size_t len = 0;
    enum err e = file_read(path, MODEL_BYTES_MAX, &bytes, &len);
    if (e != ERR_OK)
        return err_set(info, e, "cannot be read: %s", err_name(e));
    e = sha256_hex(bytes, len, m->sha256);
    if (e != ERR_OK)
        return e;
    if (spec->sha256 != NULL && !text_eq(spec->sha256, m->sha256))
        return err_code(info, ERR_CORRUPT, "payload_mismatch", "its SHA-256 is %s, the manifest says %s", m->sha256,
                        spec->sha256);
    return session_create(m, bytes, len, info);
}

/* Name and count of inputs and outputs. */
static enum err names_read(struct model *m, struct err_info *info)
{
    const OrtApi *api = m->runtime.api;
    OrtAllocator *allocator = NULL;
    size_t inputs = 0;
    size_t outputs = 0;
    OrtStatus *status = api->GetAllocatorWithDefaultOptions(&allocator);
    if (status == NULL)
        status = api->SessionGetInputCount(m->session, &inputs);
    if (status == NULL)
        status = api->SessionGetOutputCount(m->session, &outputs);
    if (status == NULL && inputs == 1)
        status = api->SessionGetInputName(m->session, 0, allocator, &m->input_name);
    if (status == NULL && (inputs != 1 || outputs < 1 || outputs > OUTPUTS_MAX))
        return err_set(info, ERR_UNSUPPORTED, "it has %zu inputs and %zu outputs; one input and 1 to %d outputs work",
                       inputs, outputs, OUTPUTS_MAX);
    for (size_t i = 0; status == NULL && i < outputs; i++) {
        status = api->SessionGetOutputName(m->session, i, allocator, &m->output_names[i]);
        m->output_count += status == NULL;
    }
    return runtime_check(&m->runtime, status, ERR_INTERNAL, "its inputs and outputs cannot be read", info);
}

static enum err shape_read(struct model *m, struct err_info *info)
{
    const OrtApi *api = m->runtime.api;
    OrtTypeInfo *type = NULL;
    const OrtTensorTypeAndShapeInfo *tensor = NULL; /* borrowed from type */
    ONNXTensorElementDataType element = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    OrtStatus *status = api->SessionGetInputTypeInfo(m->session, 0, &type);
    if (status == NULL)
        status = api->CastTypeInfoToTensorInfo(type, &tensor);
    if (status == NULL && tensor != NULL)
        status = api->GetTensorElementType(tensor, &element);
    if (status == NULL && tensor != NULL)
        status = api->GetDimensionsCount(tensor, &m->rank);
    bool fits = element == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT && m->rank <= MODEL_RANK_MAX;
    if (status == NULL && fits)
        status = api->GetDimensions(tensor, m->shape, m->rank);
    enum err e = runtime_check(&m->runtime, status, ERR_INTERNAL, "its input cannot be read", info);
    if (e == ERR_OK && !fits)
        e = err_set(info, ERR_UNSUPPORTED, "its input is not a float32 tensor of at most %d dimensions",
                    MODEL_RANK_MAX);
    if (type != NULL)
        api->ReleaseTypeInfo(type);
    return e;
}

/* "?x1x16x16" for {-1, 1, 16, 16}. */
static void shape_print(const int64_t *shape, size_t rank, char text[SHAPE_TEXT])
{
    size_t used = 0;
    (void)text_copy(text, SHAPE_TEXT, "scalar");
    for (size_t i = 0; i < rank; i++) {
        char one[24] = "?";
        if (shape[i] >= 0)
            (void)snprintf(one, sizeof one, "%" PRId64, shape[i]);
        used += (size_t)snprintf(text + used, SHAPE_TEXT - used, "%s%s", i == 0 ? "" : "x", one);
    }
}

/* Settles the free dimensions: one sample at a time. */
static enum err shape_settle(struct model *m, const struct model_spec *spec, struct err_info *info)
{
    char wanted[SHAPE_TEXT];
    bool same = spec->rank == 0 || spec->rank == m->rank;
    for (size_t i = 0; same && i < spec->rank; i++)
        same = spec->shape[i] < 0 || m->shape[i] < 0 || spec->shape[i] == m->shape[i];
    if (!same) {
        shape_print(m->shape, m->rank, m->shape_text);
        shape_print(spec->shape, spec->rank < MODEL_RANK_MAX ? spec->rank : MODEL_RANK_MAX, wanted);
        return err_set(info, ERR_INVALID, "its input is %s, the manifest says %s", m->shape_text, wanted);
    }
    int64_t len = 1;
    for (size_t i = 0; i < m->rank; i++) {
        if (m->shape[i] < 0)
            m->shape[i] = spec->rank > 0 && spec->shape[i] > 0 ? spec->shape[i] : 1;
        if (m->shape[i] == 0 || m->shape[i] > INPUT_FLOATS_MAX / len)
            return err_set(info, ERR_UNSUPPORTED, "its input is empty or has more than %" PRId64 " values",
                           INPUT_FLOATS_MAX);
        len *= m->shape[i];
    }
    m->len = (size_t)len;
    shape_print(m->shape, m->rank, m->shape_text);
    return ERR_OK;
}

static enum err input_create(struct model *m, struct err_info *info)
{
    const OrtApi *api = m->runtime.api;
    m->input = calloc(m->len, sizeof *m->input);
    if (m->input == NULL)
        return ERR_NO_MEMORY;
    OrtMemoryInfo *memory = NULL;
    OrtStatus *status = api->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &memory);
    if (status == NULL)
        status = api->CreateTensorWithDataAsOrtValue(memory, m->input, m->len * sizeof *m->input, m->shape, m->rank,
                                                     ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &m->input_value);
    if (memory != NULL)
        api->ReleaseMemoryInfo(memory);
    return runtime_check(&m->runtime, status, ERR_INTERNAL, "no input tensor can be made", info);
}

enum err model_load(const struct runtime *runtime, const char *path, const struct model_spec *spec,
                    struct model **ret_model, struct err_info *info)
{
    struct model *m = calloc(1, sizeof *m);
    if (m == NULL)
        return ERR_NO_MEMORY;
    m->runtime = *runtime;
    enum err e = file_load(m, path, spec, info);
    if (e == ERR_OK)
        e = names_read(m, info);
    if (e == ERR_OK)
        e = shape_read(m, info);
    if (e == ERR_OK)
        e = shape_settle(m, spec, info);
    if (e == ERR_OK)
        e = input_create(m, info);
    (void)malloc_trim(0); /* loading needed twice the model */
    if (e != ERR_OK) {
        (void)model_free(m);
        return e;
    }
    *ret_model = m;
    return ERR_OK;
}

static void outputs_release(struct model *m)
{
    for (size_t i = 0; i < m->output_count; i++) {
        if (m->outputs[i] != NULL)
            m->runtime.api->ReleaseValue(m->outputs[i]);
        m->outputs[i] = NULL;
    }
}

struct model *model_free(struct model *model)
{
    if (model == NULL)
        return NULL;
    const OrtApi *api = model->runtime.api;
    OrtAllocator *allocator = NULL;
    outputs_release(model);
    if (model->input_value != NULL)
        api->ReleaseValue(model->input_value);
    OrtStatus *status = api->GetAllocatorWithDefaultOptions(&allocator);
    if (status == NULL) {
        if (model->input_name != NULL)
            allocator->Free(allocator, model->input_name);
        for (size_t i = 0; i < model->output_count; i++)
            allocator->Free(allocator, model->output_names[i]);
    } else {
        api->ReleaseStatus(status);
    }
    if (model->session != NULL)
        api->ReleaseSession(model->session);
    free(model->input);
    free(model);
    return NULL;
}

/* ---------------------------------------------------------------- running */

const char *model_sha256(const struct model *model)
{
    return model->sha256;
}

size_t model_input_len(const struct model *model)
{
    return model->len;
}

float *model_input(struct model *model)
{
    return model->input;
}

const char *model_input_shape(const struct model *model)
{
    return model->shape_text;
}

static enum err output_check(const struct model *m, size_t i, struct err_info *info)
{
    const float *values = NULL;
    size_t len = 0;
    enum err e = model_output(m, i, &values, &len);
    if (e == ERR_UNSUPPORTED)
        return ERR_OK; /* whole numbers, text: nothing to check */
    for (size_t k = 0; e == ERR_OK && k < len; k++)
        if (!isfinite(values[k]))
            e = err_set(info, ERR_CORRUPT, "output %s has a value that is not finite", m->output_names[i]);
    return e;
}

enum err model_run(struct model *model, struct err_info *info)
{
    outputs_release(model);
    const char *input_name = model->input_name;
    const OrtValue *input = model->input_value;
    const char *names[OUTPUTS_MAX];
    for (size_t i = 0; i < model->output_count; i++)
        names[i] = model->output_names[i];
    OrtStatus *status = model->runtime.api->Run(model->session, NULL, &input_name, &input, 1, names,
                                                model->output_count, model->outputs);
    enum err e = runtime_check(&model->runtime, status, ERR_INTERNAL, "inference failed", info);
    for (size_t i = 0; e == ERR_OK && i < model->output_count; i++)
        e = output_check(model, i, info);
    return e;
}

enum err model_output(const struct model *model, size_t i, const float **ret_values, size_t *ret_len)
{
    const OrtApi *api = model->runtime.api;
    if (i >= model->output_count || model->outputs[i] == NULL)
        return ERR_NOT_FOUND;
    OrtTensorTypeAndShapeInfo *type = NULL;
    ONNXTensorElementDataType element = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    size_t len = 0;
    void *data = NULL;
    int tensor = 0;
    OrtStatus *status = api->IsTensor(model->outputs[i], &tensor);
    if (status == NULL && tensor != 0)
        status = api->GetTensorTypeAndShape(model->outputs[i], &type);
    if (status == NULL && type != NULL)
        status = api->GetTensorElementType(type, &element);
    if (status == NULL && type != NULL)
        status = api->GetTensorShapeElementCount(type, &len);
    bool floats = element == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    if (status == NULL && floats)
        status = api->GetTensorMutableData(model->outputs[i], &data);
    if (type != NULL)
        api->ReleaseTensorTypeAndShapeInfo(type);
    enum err e = runtime_check(&model->runtime, status, ERR_INTERNAL, "output", NULL);
    if (e == ERR_OK && !floats)
        e = ERR_UNSUPPORTED;
    if (e == ERR_OK && data == NULL && len > 0)
        e = ERR_INTERNAL;
    if (e != ERR_OK)
        return e;
    *ret_values = data;
    *ret_len = len;
    return ERR_OK;
}
