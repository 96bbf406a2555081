#include "server/core/field.h"

#include "common/base/json.h"
#include "common/base/text.h"

#include <math.h>

enum err field_text(const json_t *object, const char *key, size_t max_len, const char **ret_text, struct err_info *info)
{
    if (json_has(object, key))
        return json_get_text(object, key, max_len, ret_text, info);
    *ret_text = NULL;
    return ERR_OK;
}

enum err field_name(const json_t *object, const char *key, const char **ret_name, struct err_info *info)
{
    const char *name = NULL;
    enum err e = json_get_text(object, key, FIELD_NAME_MAX, &name, info);
    if (e != ERR_OK)
        return e;
    if (*name == '\0')
        return err_field(info, ERR_INVALID, key, "\"%s\" must not be empty", key);
    *ret_name = name;
    return ERR_OK;
}

enum err field_bundle(const json_t *object, const char *key, const char **ret_bundle, struct err_info *info)
{
    const char *bundle = NULL;
    enum err e = json_get_text(object, key, 64, &bundle, info);
    if (e != ERR_OK)
        return e;
    if (!text_is_sha256(bundle))
        return err_field(info, ERR_INVALID, key, "\"%s\" must be a bundle's id, 64 lower-case hex digits", key);
    *ret_bundle = bundle;
    return ERR_OK;
}

enum err field_bundle_or_null(const json_t *object, const char *key, const char **ret_bundle, struct err_info *info)
{
    if (json_has(object, key))
        return field_bundle(object, key, ret_bundle, info);
    *ret_bundle = NULL;
    return ERR_OK;
}

enum err field_measure(const json_t *object, const char *key, double min, double max, double *ret_value,
                       struct err_info *info)
{
    if (json_has(object, key))
        return json_get_f64(object, key, min, max, ret_value, info);
    *ret_value = NAN;
    return ERR_OK;
}

enum err field_word(const json_t *object, const char *key, const char *const *words, const char **ret_word,
                    struct err_info *info)
{
    const char *word = NULL;
    enum err e = json_get_text(object, key, FIELD_NAME_MAX, &word, info);
    if (e != ERR_OK)
        return e;
    for (; *words != NULL; words++)
        if (text_eq(*words, word)) {
            *ret_word = word;
            return ERR_OK;
        }
    return err_field(info, ERR_INVALID, key, "\"%s\" has the unknown value \"%s\"", key, word);
}
