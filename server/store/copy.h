#pragma once
/* Rows in the text format of COPY: PostgreSQL documentation, "COPY", "File Formats". A row is built field by field; a
 * failure sticks and shows at its end. Not thread-safe. */

#include "common/base/buf.h"
#include "server/db/db.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct copy_row {
    struct buf *out_;
    size_t start_;  /* length of out before the row */
    bool separate_; /* the next field or entry needs a separator before it */
    bool array_;    /* inside an array */
    enum err e_;
};

struct copy_row copy_row_begin(struct buf *out);
/* Ends the row; after a failure out is as it was before it. ERR_TOO_LARGE, ERR_NO_MEMORY. */
[[nodiscard]] enum err copy_row_end(struct copy_row *row);

/* Fields, or entries of an array between copy_array_open() and copy_array_close(). */
void copy_text(struct copy_row *row, const char *text); /* NULL is SQL NULL */
void copy_i64(struct copy_row *row, int64_t value);
void copy_bytes(struct copy_row *row, int64_t value); /* a number of bytes; -1 is SQL NULL */
void copy_f64(struct copy_row *row, double value);    /* NAN is SQL NULL */
void copy_bool(struct copy_row *row, bool value);
void copy_time(struct copy_row *row, int64_t ms); /* Unix milliseconds, years 1970 to 9999 */
void copy_array_open(struct copy_row *row);
void copy_array_close(struct copy_row *row);

/* Runs `COPY … FROM STDIN` with the rows of all parts, one after the other; nothing at all when they are empty. Inside
 * the caller's transaction. */
[[nodiscard]] enum err copy_send(struct db *db, const char *sql, const struct buf *const *parts, size_t count,
                                 struct err_info *info);
