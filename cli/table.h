#pragma once
/* Answers of the API for people: aligned tables and lists of fields, described by data. Everything that is shown is
 * made printable first, because names come from devices. */

#include "common/base/buf.h"
#include "common/base/json.h"

#include <stddef.h>

/* Appends one cell. value is what is at the column's path, or NULL. */
typedef void cell(const json_t *value, struct buf *out);

cell cell_text;     /* strings as they are, numbers, yes/no, "-" for nothing; arrays joined by ", " */
cell cell_any;      /* the same, and objects as JSON */
cell cell_time;     /* Unix ms as local time */
cell cell_ago;      /* Unix ms as "12 s ago" */
cell cell_size;     /* bytes (number or string) as "4.7 MB" */
cell cell_short_id; /* the first 12 digits of a digest */
cell cell_counts;   /* object of numbers: "succeeded 3, waiting 2", without zeros */

struct column {
    const char *title;
    const char *path; /* "status.healthy"; "" is the whole row */
    cell *show;
};

/* Rows are an array; an empty one prints `nothing` as a line. */
void table_print(const json_t *rows, const struct column *columns, size_t count, const char *nothing);

/* One object, a line per column: `Title  value`. Columns whose value is missing, null or "" are left out. */
void fields_print(const json_t *object, const struct column *columns, size_t count);

/* Prints compact JSON as a line. Steals it; NULL is ERR_NO_MEMORY. */
[[nodiscard]] enum err json_show(json_t *json);

#define COLUMNS(array) (array), sizeof(array) / sizeof(array)[0]
