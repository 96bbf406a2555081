#include "server/store/drift.h"

#include "common/base/cleanup.h"
#include "common/base/text.h"
#include "server/store/copy.h"

#include <stdlib.h>
#include <string.h>

enum err drift_row_add(struct buf *rows, const char *device_id, const struct item_drift *drift)
{
    struct copy_row row = copy_row_begin(rows);
    copy_text(&row, device_id);
    copy_time(&row, drift->t);
    copy_i64(&row, drift->window_ms);
    copy_text(&row, drift->slot);
    copy_text(&row, drift->bundle);
    copy_array_open(&row);
    for (size_t i = 0; i < drift->feature_count; i++)
        copy_text(&row, drift->features[i].name);
    copy_array_close(&row);
    copy_array_open(&row);
    for (size_t i = 0; i < drift->feature_count; i++)
        for (size_t n = 0; n < PROFILE_COUNTERS; n++)
            copy_i64(&row, (int64_t)drift->features[i].counts[n]);
    copy_array_close(&row);
    return copy_row_end(&row);
}

enum err drift_copy(struct db *db, const struct buf *const *parts, size_t count, struct err_info *info)
{
    return copy_send(db, "COPY drift_window (device_id, t, window_ms, slot, bundle_id, features, counts) FROM STDIN",
                     parts, count, info);
}

/* One row per feature and counter. */
static const char *const sums_sql =
    "WITH n AS (SELECT w.slot, w.bundle_id, w.features[(c.place - 1) / 13 + 1] AS feature, (c.place - 1) % 13 AS "
    "counter,"
    "                  min((c.place - 1) / 13) AS place, sum(c.count) AS count"
    "           FROM drift_window w, unnest(w.counts) WITH ORDINALITY AS c(count, place)"
    "           WHERE w.device_id = $1::text AND w.t >= from_ms($2::bigint) AND w.t <= from_ms($3::bigint)"
    "           GROUP BY 1, 2, 3, 4)"
    " SELECT n.slot, n.bundle_id, b.version, n.feature, b.manifest_json->'profile', n.counter, n.count"
    " FROM n LEFT JOIN bundle b ON b.id = n.bundle_id"
    " ORDER BY n.slot, b.version, n.bundle_id, n.place, n.feature, n.counter";

static char *text_or_null(const struct rows *rows, size_t row, int column, bool *failed)
{
    if (rows_null(rows, row, column))
        return NULL;
    char *text = strdup(rows_text(rows, row, column));
    *failed |= text == NULL;
    return text;
}

static enum err sum_fill(const struct rows *rows, size_t row, struct drift_sum *sum)
{
    bool failed = false;
    sum->slot = text_or_null(rows, row, 0, &failed);
    sum->bundle = text_or_null(rows, row, 1, &failed);
    sum->version = text_or_null(rows, row, 2, &failed);
    sum->feature = text_or_null(rows, row, 3, &failed);
    sum->profile = text_or_null(rows, row, 4, &failed);
    return failed ? ERR_NO_MEMORY : ERR_OK;
}

static bool sum_same(const struct rows *rows, size_t a, size_t b)
{
    return text_eq(rows_text(rows, a, 0), rows_text(rows, b, 0)) &&
           text_eq(rows_text(rows, a, 1), rows_text(rows, b, 1)) &&
           text_eq(rows_text(rows, a, 3), rows_text(rows, b, 3));
}

/* The rows of one feature stand together. */
static enum err sums_fill(const struct rows *rows, struct drift_sums *sums)
{
    size_t features = 0;
    for (size_t row = 0; row < rows_count(rows); row++)
        features += row == 0 || !sum_same(rows, row - 1, row);
    sums->sums = calloc(features + 1, sizeof *sums->sums);
    if (sums->sums == NULL)
        return ERR_NO_MEMORY;
    enum err e = ERR_OK;
    for (size_t row = 0; e == ERR_OK && row < rows_count(rows); row++) {
        if (row == 0 || !sum_same(rows, row - 1, row))
            e = sum_fill(rows, row, &sums->sums[sums->count++]);
        sums->sums[sums->count - 1].counts[rows_i64(rows, row, 5) % PROFILE_COUNTERS] =
            (uint64_t)rows_i64(rows, row, 6);
    }
    return e;
}

enum err drift_sums_read(struct db *db, const char *device_id, int64_t from, int64_t to, struct drift_sums *ret_sums,
                         struct err_info *info)
{
    cleanup_rows struct rows *rows = NULL;
    struct drift_sums sums = {0};
    enum err e = db_query(db, sums_sql, DB_ARGS(db_text(device_id), db_i64(from), db_i64(to)), &rows, info);
    if (e == ERR_OK)
        e = sums_fill(rows, &sums);
    if (e == ERR_OK)
        *ret_sums = sums;
    else
        drift_sums_free(&sums);
    return e;
}

void drift_sums_free(struct drift_sums *sums)
{
    for (size_t i = 0; i < sums->count; i++) {
        free(sums->sums[i].slot);
        free(sums->sums[i].bundle);
        free(sums->sums[i].version);
        free(sums->sums[i].feature);
        free(sums->sums[i].profile);
    }
    free(sums->sums);
    *sums = (struct drift_sums){0};
}
