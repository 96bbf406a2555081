#pragma once
/* The tar layer of a bundle: streams an archive of plain files, strictly. Internal to common/bundle. Errors:
 * ERR_CORRUPT codes `bundle_malformed` and `payload_mismatch`, ERR_IO, ERR_NO_MEMORY. */

#include "common/base/err.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct tar;

/* Reads from fd's present position. tar_free() it. */
[[nodiscard]] enum err tar_open(int fd, struct tar **ret_tar, struct err_info *info);

/* Goes to the next entry, which must be a plain file; what is left of the present one is skipped. */
[[nodiscard]] enum err tar_next(struct tar *t, struct err_info *info);

/* The present entry: NULL behind the last one. Valid until the next tar_next. */
const char *tar_name(const struct tar *t);
int64_t tar_size(const struct tar *t);
/* Where its bytes begin, from where tar_open was. Only before the first of them is read. */
int64_t tar_offset(const struct tar *t);

/* All of a small entry, with a NUL behind it (free() it). */
[[nodiscard]] enum err tar_text(struct tar *t, int64_t max, char **ret_text, size_t *ret_len, struct err_info *info);

/* The next piece of the present entry, valid until the next call; *ret_len is 0 at its end. */
[[nodiscard]] enum err tar_piece(struct tar *t, const void **ret_bytes, size_t *ret_len, struct err_info *info);

/* After the last entry: reads to the end of the file, where only zeros may be, and few of them. */
[[nodiscard]] enum err tar_rest(struct tar *t, struct err_info *info);

/* ERR_CORRUPT `bundle_malformed`: the file is something else. */
[[nodiscard]] enum err tar_no_bundle(struct err_info *info, const char *why);

/* ERR_CORRUPT `payload_mismatch`: the entry called name is refused. */
[[nodiscard]] enum err tar_refused(struct err_info *info, const char *name, const char *why);

struct tar *tar_free(struct tar *t);

static inline void cleanup_tar_p(struct tar **t)
{
    (void)tar_free(*t);
}
#define cleanup_tar [[gnu::cleanup(cleanup_tar_p)]]
