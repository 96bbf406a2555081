#pragma once
/* What the parsers of a manifest's parts share. Internal to common/bundle. */

#include "common/bundle/manifest.h"

/* Passes e on, with the part's name put before the field and the text in info. */
[[gnu::format(printf, 3, 4)]] enum err manifest_inside(struct err_info *info, enum err e, const char *fmt, ...);

/* ERR_UNSUPPORTED `manifest_unsupported`: "this version does not know WHAT "NAME"". */
[[nodiscard]] enum err manifest_unsupported(struct err_info *info, const char *what, const char *name);

/* For objects that mean something only when all of them is understood: an unknown member is unsupported. allowed ends
 * with NULL; what: "the requirement". */
[[nodiscard]] enum err manifest_known(const json_t *object, const char *const *allowed, const char *what,
                                      struct err_info *info);

/* An optional array of at most max strings; *ret_array is left alone when there is none. Borrowed. */
[[nodiscard]] enum err manifest_texts(const json_t *object, const char *key, size_t max, json_t **ret_array,
                                      struct err_info *info);

/* The same as a C array (NULL when there is none or it is empty; free() it). Its texts are borrowed. */
[[nodiscard]] enum err manifest_text_list(const json_t *object, const char *key, size_t max, const char ***ret_texts,
                                          size_t *ret_count, struct err_info *info);

/* The part that belongs to m's kind ("model", "app", "agent"), and the self-test. m has its files. Those of other kinds
 * are refused. */
[[nodiscard]] enum err manifest_kind_parse(struct manifest *m, struct err_info *info);

/* Frees what manifest_kind_parse made. */
void manifest_kind_free(struct manifest *m);
