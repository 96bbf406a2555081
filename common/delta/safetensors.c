/* safetensors: the length of a JSON header, the header, the tensors back to back. */
#include "common/delta/container.h"

#include "common/base/json.h"
#include "common/base/text.h"

#include <endian.h>
#include <string.h>

enum { HEADER_MAX = 64 * 1024 * 1024 };

static bool type_of(const char *name, enum tensor_type *ret_type)
{
    static const struct {
        const char *name;
        enum tensor_type type;
    } types[] = {{"F32", TENSOR_F32}, {"F16", TENSOR_F16}, {"BF16", TENSOR_BF16}, {"F64", TENSOR_F64},
                 {"I8", TENSOR_I8},   {"U8", TENSOR_U8},   {"I16", TENSOR_I16},   {"U16", TENSOR_I16},
                 {"I32", TENSOR_I32}, {"U32", TENSOR_I32}, {"I64", TENSOR_I64},   {"U64", TENSOR_I64}};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (text_eq(types[i].name, name)) {
            *ret_type = types[i].type;
            return true;
        }
    return false;
}

/* Element i of an array as a number that is not negative; false when it is none. */
static bool number_at(const json_t *array, size_t i, uint64_t *ret_value)
{
    const json_t *value = json_array_get(array, i);
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *ret_value = (uint64_t)json_integer_value(value);
    return true;
}

/* False: it is not what a header has. */
static bool tensor_take(struct container *c, const char *name, const json_t *about, size_t start, size_t size,
                        enum err *ret_error)
{
    struct container_shape shape = {.name = (const uint8_t *)name, .name_len = strlen(name)};
    const json_t *dims = json_object_get(about, "shape");
    const json_t *offsets = json_object_get(about, "data_offsets");
    uint64_t from = 0;
    uint64_t to = 0;
    if (!json_is_string(json_object_get(about, "dtype")) || !json_is_array(dims) || json_array_size(offsets) != 2 ||
        !number_at(offsets, 0, &from) || !number_at(offsets, 1, &to) || from > to || to > size - start)
        return false;
    shape.rank = json_array_size(dims);
    bool known =
        shape.rank <= CONTAINER_DIMS_MAX && type_of(json_string_value(json_object_get(about, "dtype")), &shape.type);
    for (size_t i = 0; known && i < shape.rank; i++)
        if (!number_at(dims, i, &shape.dims[i]))
            return false;
    if (known)
        *ret_error = container_add(c, &shape, (int64_t)(start + from), to - from);
    return true;
}

enum err safetensors_read(const uint8_t *bytes, size_t size, struct container *container, bool *ret_is)
{
    uint64_t len = 0;
    enum err e = ERR_OK;
    json_auto_t *header = NULL;
    if (size < 10)
        return ERR_OK;
    memcpy(&len, bytes, 8);
    len = le64toh(len);
    if (len < 2 || len > size - 8 || len > HEADER_MAX || bytes[8] != '{')
        return ERR_OK;
    if (json_parse((const char *)bytes + 8, (size_t)len, HEADER_MAX, &header, NULL) != ERR_OK)
        return ERR_OK;
    const char *name = NULL;
    json_t *about = NULL;
    bool is = json_is_object(header);
    json_object_foreach(header, name, about)
    {
        if (is && e == ERR_OK && !text_eq(name, "__metadata__"))
            is = tensor_take(container, name, about, 8 + (size_t)len, size, &e);
    }
    *ret_is = is && container->count > 0;
    return e;
}
