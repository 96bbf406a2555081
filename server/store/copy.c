#include "server/store/copy.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct copy_row copy_row_begin(struct buf *out)
{
    return (struct copy_row){.out_ = out, .start_ = out->len};
}

static void put(struct copy_row *row, const char *bytes, size_t len)
{
    if (row->e_ == ERR_OK)
        row->e_ = buf_add(row->out_, bytes, len);
}

static void put_text(struct copy_row *row, const char *text)
{
    put(row, text, strlen(text));
}

enum err copy_row_end(struct copy_row *row)
{
    put_text(row, "\n");
    if (row->e_ != ERR_OK)
        row->out_->len = row->start_;
    return row->e_;
}

static void separate(struct copy_row *row)
{
    if (row->separate_)
        put_text(row, row->array_ ? "," : "\t");
    row->separate_ = true;
}

static void put_null(struct copy_row *row)
{
    separate(row);
    put_text(row, row->array_ ? "NULL" : "\\N");
}

/* What COPY must not see as it is; NULL when the character stands for itself. Inside a quoted array entry quotes and
 * backslashes are escaped once for the array and again for COPY. */
static const char *escape_of(char c, bool array)
{
    switch (c) {
    case '\t':
        return "\\t";
    case '\n':
        return "\\n";
    case '\r':
        return "\\r";
    case '\\':
        return array ? "\\\\\\\\" : "\\\\";
    case '"':
        return array ? "\\\\\"" : NULL;
    default:
        return NULL;
    }
}

void copy_text(struct copy_row *row, const char *text)
{
    if (text == NULL) {
        put_null(row);
        return;
    }
    separate(row);
    if (row->array_)
        put_text(row, "\"");
    const char *run = text;
    for (const char *c = text; *c != '\0'; c++) {
        const char *escape = escape_of(*c, row->array_);
        if (escape == NULL)
            continue;
        put(row, run, (size_t)(c - run));
        put_text(row, escape);
        run = c + 1;
    }
    put_text(row, run);
    if (row->array_)
        put_text(row, "\"");
}

void copy_i64(struct copy_row *row, int64_t value)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%" PRId64, value);
    separate(row);
    put_text(row, text);
}

void copy_bytes(struct copy_row *row, int64_t value)
{
    if (value < 0)
        put_null(row);
    else
        copy_i64(row, value);
}

void copy_f64(struct copy_row *row, double value)
{
    if (isnan(value)) {
        put_null(row);
        return;
    }
    char text[32];
    (void)snprintf(text, sizeof text, "%.9g", value);
    separate(row);
    put_text(row, text);
}

void copy_bool(struct copy_row *row, bool value)
{
    separate(row);
    put_text(row, value ? "t" : "f");
}

void copy_time(struct copy_row *row, int64_t ms)
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    char date[32] = "";
    if (gmtime_r(&seconds, &tm) == NULL || strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", &tm) == 0) {
        row->e_ = ERR_INVALID;
        return;
    }
    char text[48];
    (void)snprintf(text, sizeof text, "%s.%03d+00", date, (int)(ms % 1000));
    separate(row);
    put_text(row, text);
}

void copy_array_open(struct copy_row *row)
{
    separate(row);
    put_text(row, "{");
    row->array_ = true;
    row->separate_ = false;
}

void copy_array_close(struct copy_row *row)
{
    put_text(row, "}");
    row->array_ = false;
    row->separate_ = true;
}

enum err copy_send(struct db *db, const char *sql, const struct buf *const *parts, size_t count, struct err_info *info)
{
    bool begun = false;
    for (size_t i = 0; i < count; i++) {
        if (parts[i]->len == 0)
            continue;
        enum err e = begun ? ERR_OK : db_copy_begin(db, sql, info);
        if (e == ERR_OK)
            e = db_copy_data(db, parts[i]->data, parts[i]->len, info);
        if (e != ERR_OK)
            return e;
        begun = true;
    }
    return begun ? db_copy_end(db, info) : ERR_OK;
}
