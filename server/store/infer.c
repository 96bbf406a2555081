#include "server/store/infer.h"

#include "common/base/cleanup.h"
#include "common/base/text.h"
#include "server/store/copy.h"

#include <stdlib.h>
#include <string.h>

enum err infer_row_add(struct buf *rows, const char *device_id, const struct item_infer *infer)
{
    int end = HISTOGRAM_BUCKETS;
    while (end > 0 && infer->latency.counts[end - 1] == 0)
        end--;
    int first = 0;
    while (first < end && infer->latency.counts[first] == 0)
        first++;
    struct copy_row row = copy_row_begin(rows);
    copy_text(&row, device_id);
    copy_time(&row, infer->t);
    copy_i64(&row, infer->window_ms);
    copy_text(&row, infer->slot);
    copy_text(&row, infer->bundle);
    copy_i64(&row, infer->count);
    copy_i64(&row, infer->errors);
    copy_i64(&row, infer->queue_max);
    copy_i64(&row, first < end ? first : 0);
    copy_array_open(&row);
    for (int i = first; i < end; i++)
        copy_i64(&row, (int64_t)infer->latency.counts[i]);
    copy_array_close(&row);
    return copy_row_end(&row);
}

enum err infer_copy(struct db *db, const struct buf *const *parts, size_t count, struct err_info *info)
{
    return copy_send(db,
                     "COPY infer_window (device_id, t, window_ms, slot, bundle_id, count, errors, queue_max,"
                     " hist_first, hist) FROM STDIN",
                     parts, count, info);
}

/* One row per window of the answer and bucket of its histogram; a window without latencies has one row, without bucket.
 * Sums are capped: figures of one device never come near, unless it lies. */
static const char *const series_sql =
    "WITH w AS MATERIALIZED ("
    "   SELECT *, (ms(t) - $2::bigint) / $4::bigint AS step FROM infer_window"
    "   WHERE device_id = $1::text AND t >= from_ms($2::bigint) AND t <= from_ms($3::bigint)),"
    " s AS (SELECT step, slot, bundle_id, max(t) AS t, least(sum(window_ms), 1e15)::bigint AS window_ms,"
    "              least(sum(count), 1e15)::bigint AS count, least(sum(errors), 1e15)::bigint AS errors"
    "       FROM w GROUP BY step, slot, bundle_id),"
    " h AS (SELECT w.step, w.slot, w.bundle_id, w.hist_first + n.place - 1 AS bucket, sum(n.count) AS count"
    "       FROM w, unnest(w.hist) WITH ORDINALITY AS n(count, place) GROUP BY 1, 2, 3, 4)"
    " SELECT ms(s.t), s.window_ms, s.slot, s.bundle_id, b.version, s.count, s.errors, h.bucket, h.count, s.step"
    " FROM s LEFT JOIN h USING (step, slot, bundle_id) LEFT JOIN bundle b ON b.id = s.bundle_id"
    " ORDER BY s.step, s.slot, s.bundle_id, h.bucket";

static bool window_same(const struct rows *rows, size_t a, size_t b)
{
    return rows_i64(rows, a, 9) == rows_i64(rows, b, 9) && text_eq(rows_text(rows, a, 2), rows_text(rows, b, 2)) &&
           text_eq(rows_text(rows, a, 3), rows_text(rows, b, 3));
}

static enum err window_fill(const struct rows *rows, size_t row, struct infer_window *w)
{
    w->t = rows_i64(rows, row, 0);
    w->window_ms = rows_i64(rows, row, 1);
    w->slot = strdup(rows_text(rows, row, 2));
    w->bundle = strdup(rows_text(rows, row, 3));
    w->version = rows_null(rows, row, 4) ? NULL : strdup(rows_text(rows, row, 4));
    w->count = rows_i64(rows, row, 5);
    w->errors = rows_i64(rows, row, 6);
    bool whole = w->slot != NULL && w->bundle != NULL && (w->version != NULL || rows_null(rows, row, 4));
    return whole ? ERR_OK : ERR_NO_MEMORY;
}

/* The rows of one window stand together. */
static enum err series_fill(const struct rows *rows, struct infer_series *series)
{
    size_t windows = 0;
    for (size_t row = 0; row < rows_count(rows); row++)
        windows += row == 0 || !window_same(rows, row - 1, row);
    series->windows = calloc(windows + 1, sizeof *series->windows);
    if (series->windows == NULL)
        return ERR_NO_MEMORY;
    enum err e = ERR_OK;
    for (size_t row = 0; e == ERR_OK && row < rows_count(rows); row++) {
        if (row == 0 || !window_same(rows, row - 1, row))
            e = window_fill(rows, row, &series->windows[series->count++]);
        int64_t bucket = rows_i64(rows, row, 7);
        if (!rows_null(rows, row, 7) && bucket >= 0 && bucket < HISTOGRAM_BUCKETS)
            series->windows[series->count - 1].latency.counts[bucket] += (uint64_t)rows_i64(rows, row, 8);
    }
    return e;
}

enum err infer_series_read(struct db *db, const char *device_id, int64_t from, int64_t to, int64_t step_ms,
                           struct infer_series *ret_series, struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    struct infer_series series = {0};
    enum err e =
        db_query(db, series_sql, DB_ARGS(db_text(device_id), db_i64(from), db_i64(to), db_i64(step_ms)), &rows, info);
    if (e == ERR_OK)
        e = series_fill(rows, &series);
    if (e == ERR_OK)
        *ret_series = series;
    else
        infer_series_free(&series);
    return e;
}

void infer_series_free(struct infer_series *series)
{
    for (size_t i = 0; i < series->count; i++) {
        free(series->windows[i].slot);
        free(series->windows[i].bundle);
        free(series->windows[i].version);
    }
    free(series->windows);
    *series = (struct infer_series){0};
}
