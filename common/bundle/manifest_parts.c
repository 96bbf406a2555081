#include "common/bundle/manifest_parts.h"

#include "common/base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- errors: the field gets the path of the object it is in ---- */

enum err manifest_inside(struct err_info *info, enum err e, const char *fmt, ...)
{
    if (e == ERR_OK || e == ERR_NO_MEMORY)
        return e;
    char where[ERR_FIELD_MAX];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(where, sizeof where, fmt, args);
    va_end(args);
    char field[ERR_FIELD_MAX];
    char text[ERR_TEXT_MAX];
    bool nested = info->field[0] != '\0';
    (void)snprintf(field, sizeof field, "%.40s%s%.50s", where, nested ? "." : "", info->field);
    (void)snprintf(text, sizeof text, "%.60s: %.300s", where, info->text);
    (void)text_copy(info->field, sizeof info->field, field);
    (void)text_copy(info->text, sizeof info->text, text);
    return e;
}

enum err manifest_unsupported(struct err_info *info, const char *what, const char *name)
{
    enum err e =
        err_code(info, ERR_UNSUPPORTED, "manifest_unsupported", "this version does not know %s \"%.60s\"", what, name);
    err_next(info, "Update this program, or make the bundle without it.");
    return e;
}

enum err manifest_known(const json_t *object, const char *const *allowed, const char *what, struct err_info *info)
{
    struct err_info why = {0};
    if (json_only(object, allowed, &why) == ERR_OK)
        return ERR_OK;
    return manifest_unsupported(info, what, why.field);
}

enum err manifest_texts(const json_t *object, const char *key, size_t max, json_t **ret_array, struct err_info *info)
{
    json_t *array = NULL;
    enum err e = json_has(object, key) ? json_get_array(object, key, max, &array, info) : ERR_OK;
    for (size_t i = 0; e == ERR_OK && i < json_array_size(array); i++)
        if (!json_is_string(json_array_get(array, i)))
            e = err_field(info, ERR_INVALID, key, "\"%s\" must be an array of strings", key);
    if (e == ERR_OK)
        *ret_array = array;
    return e;
}

enum err manifest_text_list(const json_t *object, const char *key, size_t max, const char ***ret_texts,
                            size_t *ret_count, struct err_info *info)
{
    json_t *array = NULL;
    enum err e = manifest_texts(object, key, max, &array, info);
    size_t count = json_array_size(array);
    if (e != ERR_OK || count == 0)
        return e;
    const char **texts = calloc(count, sizeof *texts);
    if (texts == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < count; i++)
        texts[i] = json_string_value(json_array_get(array, i));
    *ret_texts = texts;
    *ret_count = count;
    return ERR_OK;
}
