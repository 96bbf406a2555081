#pragma once
/* Members that several messages of devices have, beside those of common/base/json.h. Pure. Strings are borrowed.
 * ERR_INVALID names the key. */

#include "common/base/err.h"

#include <jansson.h>
#include <stdint.h>

enum { FIELD_NAME_MAX = 63, FIELD_TEXT_MAX = 2000 };
enum { FIELD_WINDOW_MAX_MS = 24 * 60 * 60 * 1000 };

/* Absent or null gives NULL. */
[[nodiscard]] enum err field_text(const json_t *object, const char *key, size_t max_len, const char **ret_text,
                                  struct err_info *info);

/* A required name of a slot, event or sensor: 1..FIELD_NAME_MAX bytes. */
[[nodiscard]] enum err field_name(const json_t *object, const char *key, const char **ret_name, struct err_info *info);

/* A bundle's id: 64 lower-case hex digits. field_bundle_or_null: absent or null gives NULL. */
[[nodiscard]] enum err field_bundle(const json_t *object, const char *key, const char **ret_bundle,
                                    struct err_info *info);
[[nodiscard]] enum err field_bundle_or_null(const json_t *object, const char *key, const char **ret_bundle,
                                            struct err_info *info);

/* Absent or null gives NAN. */
[[nodiscard]] enum err field_measure(const json_t *object, const char *key, double min, double max, double *ret_value,
                                     struct err_info *info);

/* A required string that is one of words (NULL-terminated). */
[[nodiscard]] enum err field_word(const json_t *object, const char *key, const char *const *words,
                                  const char **ret_word, struct err_info *info);
