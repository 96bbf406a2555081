#include "cli/table.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CELL_MAX = 4000 };

/* ---- cells: a cell that is too long is cut, never an error ---- */

static void add(struct buf *out, const char *text)
{
    (void)!buf_add_text(out, text);
}

/* A number, also when it is in a string. */
static bool number_of(const json_t *value, double *ret_number)
{
    int64_t whole = 0;
    if (json_is_string(value) && text_to_i64(json_string_value(value), INT64_MIN, INT64_MAX, &whole) == ERR_OK) {
        *ret_number = (double)whole;
        return true;
    }
    *ret_number = json_number_value(value);
    return json_is_number(value);
}

static void array_text(const json_t *array, struct buf *out)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        if (i > 0)
            add(out, ", ");
        cell_text(json_array_get(array, i), out);
    }
    if (json_array_size(array) == 0)
        add(out, "-");
}

void cell_text(const json_t *value, struct buf *out)
{
    if (json_is_string(value))
        add(out, *json_string_value(value) == '\0' ? "-" : json_string_value(value));
    else if (json_is_integer(value))
        (void)!buf_addf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        (void)!buf_addf(out, "%.4g", json_real_value(value));
    else if (json_is_boolean(value))
        add(out, json_is_true(value) ? "yes" : "no");
    else if (json_is_array(value))
        array_text(value, out);
    else
        add(out, "-");
}

void cell_any(const json_t *value, struct buf *out)
{
    cleanup_free char *text = json_is_object(value) || json_is_array(value) ? json_dumps(value, 0) : NULL;
    if (text == NULL)
        cell_text(value, out);
    else
        add(out, text);
}

void cell_time(const json_t *value, struct buf *out)
{
    char text[32];
    struct tm parts;
    time_t seconds = (time_t)(json_integer_value(value) / 1000);
    if (!json_is_integer(value) || localtime_r(&seconds, &parts) == NULL ||
        strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts) == 0)
        add(out, "-");
    else
        add(out, text);
}

void cell_ago(const json_t *value, struct buf *out)
{
    static const struct {
        int64_t seconds;
        const char *unit;
    } units[] = {{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}};
    if (!json_is_integer(value)) {
        add(out, "never");
        return;
    }
    int64_t age = (clock_wall_ms() - json_integer_value(value)) / 1000;
    size_t i = 0;
    while (i < 3 && age < 2 * units[i].seconds)
        i++;
    (void)!buf_addf(out, "%" PRId64 " %s ago", age < 0 ? 0 : age / units[i].seconds, units[i].unit);
}

void cell_size(const json_t *value, struct buf *out)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double size = 0;
    size_t i = 0;
    if (!number_of(value, &size)) {
        add(out, "-");
        return;
    }
    for (; size >= 1000 && i < 4; i++)
        size /= 1000;
    (void)!buf_addf(out, i == 0 ? "%.0f %s" : "%.1f %s", size, units[i]);
}

void cell_short_id(const json_t *value, struct buf *out)
{
    const char *text = json_string_value(value);
    (void)!buf_addf(out, "%.12s", text == NULL ? "-" : text);
}

void cell_counts(const json_t *value, struct buf *out)
{
    const char *key = NULL;
    json_t *count = NULL;
    bool some = false;
    json_object_foreach((json_t *)value, key, count)
    {
        if (json_integer_value(count) == 0)
            continue;
        (void)!buf_addf(out, "%s%s %" JSON_INTEGER_FORMAT, some ? ", " : "", key, json_integer_value(count));
        some = true;
    }
    if (!some)
        add(out, "-");
}

/* ---- layout ---- */

static const json_t *value_at(const json_t *row, const char *path)
{
    while (*path != '\0' && row != NULL) {
        char key[64];
        size_t n = strcspn(path, ".");
        (void)snprintf(key, sizeof key, "%.*s", (int)n, path);
        row = json_object_get(row, key);
        path += n + (path[n] == '.' ? 1 : 0);
    }
    return row;
}

/* The cell's text, printable (free() it); NULL when there is no memory. */
static char *cell_make(const json_t *row, const struct column *column)
{
    cleanup_buf struct buf out = BUF_INIT(CELL_MAX);
    column->show(value_at(row, column->path), &out);
    char *text = out.len == 0 ? strdup("") : buf_take(&out);
    if (text != NULL)
        text_printable(text);
    return text;
}

/* Characters, taking each for one column wide. */
static size_t width_of(const char *text)
{
    size_t width = 0;
    for (; *text != '\0'; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

static void cells_print(char *const *cells, const size_t *widths, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *text = cells[i] == NULL ? "" : cells[i];
        bool last = i + 1 == count;
        printf("%s%*s", text, last ? 0 : (int)(widths[i] - width_of(text) + 2), "");
    }
    putchar('\n');
}

void table_print(const json_t *rows, const struct column *columns, size_t count, const char *nothing)
{
    size_t row_count = json_array_size(rows);
    if (row_count == 0) {
        puts(nothing);
        return;
    }
    cleanup_free char **cells = calloc((row_count + 1) * count, sizeof *cells);
    cleanup_free size_t *widths = calloc(count, sizeof *widths);
    if (cells == NULL || widths == NULL)
        return;
    for (size_t i = 0; i < (row_count + 1) * count; i++) {
        const struct column *column = &columns[i % count];
        cells[i] = i < count ? strdup(column->title) : cell_make(json_array_get(rows, i / count - 1), column);
        size_t width = cells[i] == NULL ? 0 : width_of(cells[i]);
        widths[i % count] = width > widths[i % count] ? width : widths[i % count];
    }
    for (size_t i = 0; i <= row_count; i++)
        cells_print(&cells[i * count], widths, count);
    for (size_t i = 0; i < (row_count + 1) * count; i++)
        free(cells[i]);
}

void fields_print(const json_t *object, const struct column *columns, size_t count)
{
    int width = 0;
    for (size_t i = 0; i < count; i++)
        width = (int)strlen(columns[i].title) > width ? (int)strlen(columns[i].title) : width;
    for (size_t i = 0; i < count; i++) {
        const json_t *value = value_at(object, columns[i].path);
        if (value == NULL || json_is_null(value) || text_eq(json_string_value(value), ""))
            continue;
        cleanup_free char *text = cell_make(object, &columns[i]);
        printf("%-*s  %s\n", width, columns[i].title, text == NULL ? "" : text);
    }
}

enum err json_show(json_t *json)
{
    json_auto_t *owned = json;
    cleanup_free char *text = NULL;
    enum err e = json_print(owned, &text, NULL);
    if (e == ERR_OK)
        puts(text);
    return e;
}
