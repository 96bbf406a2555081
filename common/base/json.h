#pragma once
/* jansson with the edge's rules: bounded, strict, no duplicates, no \u0000. */

#include "common/base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { JSON_BYTES_MAX = 256 * 1024, JSON_DEPTH_MAX = 32 };

/* Call once before threads start: a fixed hash seed is initialised (jansson's lazy one is not thread-safe). */
void json_start(void);

/* Parses at most max bytes of UTF-8 JSON: object or array at the top, depth <= JSON_DEPTH_MAX, no duplicate keys, no
 * \u0000. ERR_INVALID or ERR_TOO_LARGE with text and offset in info. json_decref() the result. */
[[nodiscard]] enum err json_parse(const char *text, size_t len, size_t max, json_t **ret_json, struct err_info *info);

/* Every key of object is in allowed (NULL-terminated); else ERR_INVALID naming the field. */
[[nodiscard]] enum err json_only(const json_t *object, const char *const *allowed, struct err_info *info);

/* Required members. Strings are borrowed from object. ERR_INVALID names the key, what is wrong and what is expected. */
[[nodiscard]] enum err json_get_text(const json_t *object, const char *key, size_t max_len, const char **ret_text,
                                     struct err_info *info);
[[nodiscard]] enum err json_get_i64(const json_t *object, const char *key, int64_t min, int64_t max, int64_t *ret_value,
                                    struct err_info *info);
[[nodiscard]] enum err json_get_f64(const json_t *object, const char *key, double min, double max, double *ret_value,
                                    struct err_info *info);
[[nodiscard]] enum err json_get_bool(const json_t *object, const char *key, bool *ret_value, struct err_info *info);
/* A 64-bit number as a JSON string of decimal digits ("17"). */
[[nodiscard]] enum err json_get_id(const json_t *object, const char *key, int64_t min, int64_t *ret_value,
                                   struct err_info *info);
[[nodiscard]] enum err json_get_object(const json_t *object, const char *key, json_t **ret_object,
                                       struct err_info *info);
[[nodiscard]] enum err json_get_array(const json_t *object, const char *key, size_t max_len, json_t **ret_array,
                                      struct err_info *info);

/* The member is there and not null: then an optional one is read with the functions above. */
bool json_has(const json_t *object, const char *key);

/* Text of a member, or NULL when it is absent, null or not a string. Borrowed. */
const char *json_text_or_null(const json_t *object, const char *key);

/* Compact text (free() it). NULL json or failure is ERR_NO_MEMORY: json_pack results are checked here, once. */
[[nodiscard]] enum err json_print(const json_t *json, char **ret_text, size_t *ret_len);

/* A JSON string of a 64-bit number. Owned by the caller (or stolen by a _new function). */
[[nodiscard]] json_t *json_id(int64_t value);
