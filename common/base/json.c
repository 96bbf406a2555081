#include "common/base/json.h"

#include "common/base/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

void json_start(void)
{
    json_object_seed(0);
}

/* jansson allows 2048 levels and takes no limit of ours: count brackets outside strings before it sees the text. */
static bool depth_ok(const char *text, size_t len)
{
    int depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (quoted) {
            if (c == '\\')
                i++;
            else if (c == '"')
                quoted = false;
        } else if (c == '"') {
            quoted = true;
        } else if (c == '{' || c == '[') {
            if (++depth > JSON_DEPTH_MAX)
                return false;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return true;
}

enum err json_parse(const char *text, size_t len, size_t max, json_t **ret_json, struct err_info *info)
{
    if (len > max)
        return err_code(info, ERR_TOO_LARGE, "body_too_large", "JSON of %zu bytes is over the limit of %zu", len, max);
    if (!depth_ok(text, len))
        return err_code(info, ERR_INVALID, "malformed_json", "JSON is nested deeper than %d levels", JSON_DEPTH_MAX);
    json_error_t error;
    json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL) {
        enum err e = err_code(info, ERR_INVALID, "malformed_json", "not valid JSON: %s (line %d, column %d)",
                              error.text, error.line, error.column);
        if (info != NULL)
            info->offset = error.position;
        return e;
    }
    *ret_json = json;
    return ERR_OK;
}

enum err json_only(const json_t *object, const char *const *allowed, struct err_info *info)
{
    if (!json_is_object(object))
        return err_set(info, ERR_INVALID, "a JSON object is expected");
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach((json_t *)object, key, value)
    {
        bool known = false;
        for (const char *const *a = allowed; *a != NULL && !known; a++)
            known = strcmp(*a, key) == 0;
        if (!known) {
            enum err e = err_field(info, ERR_INVALID, key, "unknown field \"%.60s\"", key);
            if (info != NULL)
                (void)text_copy(info->code, sizeof info->code, "unknown_field");
            return e;
        }
    }
    return ERR_OK;
}

static enum err member(const json_t *object, const char *key, const char *what, const json_t **ret_value,
                       struct err_info *info)
{
    const json_t *value = json_object_get(object, key);
    if (value == NULL)
        return err_field(info, ERR_INVALID, key, "\"%s\" is missing; expected %s", key, what);
    *ret_value = value;
    return ERR_OK;
}

enum err json_get_text(const json_t *object, const char *key, size_t max_len, const char **ret_text,
                       struct err_info *info)
{
    const json_t *value = NULL;
    enum err e = member(object, key, "a string", &value, info);
    if (e != ERR_OK)
        return e;
    if (!json_is_string(value))
        return err_field(info, ERR_INVALID, key, "\"%s\" must be a string", key);
    if (json_string_length(value) > max_len)
        return err_field(info, ERR_INVALID, key, "\"%s\" is longer than %zu bytes", key, max_len);
    *ret_text = json_string_value(value);
    return ERR_OK;
}

enum err json_get_i64(const json_t *object, const char *key, int64_t min, int64_t max, int64_t *ret_value,
                      struct err_info *info)
{
    const json_t *value = NULL;
    enum err e = member(object, key, "a whole number", &value, info);
    if (e != ERR_OK)
        return e;
    if (!json_is_integer(value) || json_integer_value(value) < min || json_integer_value(value) > max)
        return err_field(info, ERR_INVALID, key, "\"%s\" must be a whole number from %" PRId64 " to %" PRId64, key, min,
                         max);
    *ret_value = json_integer_value(value);
    return ERR_OK;
}

enum err json_get_f64(const json_t *object, const char *key, double min, double max, double *ret_value,
                      struct err_info *info)
{
    const json_t *value = NULL;
    enum err e = member(object, key, "a number", &value, info);
    if (e != ERR_OK)
        return e;
    double number = json_number_value(value);
    if (!json_is_number(value) || !isfinite(number) || number < min || number > max)
        return err_field(info, ERR_INVALID, key, "\"%s\" must be a number from %g to %g", key, min, max);
    *ret_value = number;
    return ERR_OK;
}

enum err json_get_bool(const json_t *object, const char *key, bool *ret_value, struct err_info *info)
{
    const json_t *value = NULL;
    enum err e = member(object, key, "true or false", &value, info);
    if (e != ERR_OK)
        return e;
    if (!json_is_boolean(value))
        return err_field(info, ERR_INVALID, key, "\"%s\" must be true or false", key);
    *ret_value = json_is_true(value);
    return ERR_OK;
}

enum err json_get_id(const json_t *object, const char *key, int64_t min, int64_t *ret_value, struct err_info *info)
{
    const json_t *value = NULL;
    enum err e = member(object, key, "a string of digits", &value, info);
    if (e != ERR_OK)
        return e;
    if (text_to_i64(json_string_value(value), min, INT64_MAX, ret_value) != ERR_OK)
        return err_field(info, ERR_INVALID, key, "\"%s\" must be a string of digits, at least \"%" PRId64 "\"", key,
                         min);
    return ERR_OK;
}

enum err json_get_object(const json_t *object, const char *key, json_t **ret_object, struct err_info *info)
{
    const json_t *value = NULL;
    enum err e = member(object, key, "an object", &value, info);
    if (e != ERR_OK)
        return e;
    if (!json_is_object(value))
        return err_field(info, ERR_INVALID, key, "\"%s\" must be an object", key);
    *ret_object = (json_t *)value;
    return ERR_OK;
}

enum err json_get_array(const json_t *object, const char *key, size_t max_len, json_t **ret_array,
                        struct err_info *info)
{
    const json_t *value = NULL;
    enum err e = member(object, key, "an array", &value, info);
    if (e != ERR_OK)
        return e;
    if (!json_is_array(value) || json_array_size(value) > max_len)
        return err_field(info, ERR_INVALID, key, "\"%s\" must be an array of at most %zu entries", key, max_len);
    *ret_array = (json_t *)value;
    return ERR_OK;
}

bool json_has(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return value != NULL && !json_is_null(value);
}

const char *json_text_or_null(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

enum err json_print(const json_t *json, char **ret_text, size_t *ret_len)
{
    char *text = json == NULL ? NULL : json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text == NULL)
        return ERR_NO_MEMORY;
    *ret_text = text;
    if (ret_len != NULL)
        *ret_len = strlen(text);
    return ERR_OK;
}

json_t *json_id(int64_t value)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%" PRId64, value);
    return json_string(text);
}
