#include "server/store/health.h"

#include "server/store/copy.h"

enum err health_row_add(struct buf *rows, const char *device_id, const struct item_health *health)
{
    struct copy_row row = copy_row_begin(rows);
    copy_text(&row, device_id);
    copy_time(&row, health->t);
    copy_f64(&row, health->cpu);
    copy_f64(&row, health->load1);
    copy_bytes(&row, health->memory_used);
    copy_bytes(&row, health->memory_total);
    copy_bytes(&row, health->disk_used);
    copy_bytes(&row, health->disk_total);
    copy_array_open(&row);
    for (size_t i = 0; i < health->temp_count; i++)
        copy_text(&row, health->temps[i].name);
    copy_array_close(&row);
    copy_array_open(&row);
    for (size_t i = 0; i < health->temp_count; i++)
        copy_f64(&row, health->temps[i].c);
    copy_array_close(&row);
    copy_array_open(&row);
    for (size_t i = 0; i < health->temp_count; i++)
        copy_f64(&row, health->temps[i].trip_c);
    copy_array_close(&row);
    copy_bool(&row, health->throttled);
    copy_f64(&row, health->throttled_fraction);
    copy_text(&row, health->throttle_reason);
    return copy_row_end(&row);
}

enum err health_copy(struct db *db, const struct buf *const *parts, size_t count, struct err_info *info)
{
    return copy_send(db,
                     "COPY health (device_id, t, cpu, load1, memory_used, memory_total, disk_used, disk_total,"
                     " temp_names, temp_c, trip_c, throttled, throttled_fraction, throttle_reason) FROM STDIN",
                     parts, count, info);
}

/* `reading` is one row of the table per step; `point` adds the gaps. A sensor's values stand beside the points by its
 * name, because sensors may come and go. */
static const char *const series_sql =
    "WITH reading AS ("
    "   SELECT DISTINCT ON ((ms(h.t) - $2::bigint) / $4::bigint) h.*, m.margin"
    "   FROM health h"
    "   CROSS JOIN LATERAL (SELECT min(s.trip - s.c) AS margin FROM unnest(h.temp_c, h.trip_c) AS s(c, trip)) m"
    "   WHERE h.device_id = $1::text AND h.t >= from_ms($2::bigint) AND h.t <= from_ms($3::bigint)"
    "   ORDER BY (ms(h.t) - $2::bigint) / $4::bigint, m.margin NULLS LAST, h.t),"
    " spaced AS (SELECT t, lead(t) OVER (ORDER BY t) - t AS distance FROM reading),"
    " usual AS (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY distance) AS distance FROM spaced),"
    " point AS MATERIALIZED ("
    "   SELECT t, cpu, memory_used, memory_total, margin, throttled, temp_names, temp_c FROM reading"
    "   UNION ALL"
    "   SELECT s.t + u.distance, NULL, NULL, NULL, NULL, false, '{}', '{}' FROM spaced s, usual u"
    "   WHERE s.distance > 3 * u.distance),"
    " sensor AS ("
    "   SELECT s.name, (array_agg(s.trip ORDER BY r.t DESC) FILTER (WHERE s.trip IS NOT NULL))[1] AS trip"
    "   FROM reading r, unnest(r.temp_names, r.trip_c) AS s(name, trip) GROUP BY s.name)"
    " SELECT jsonb_build_object('from', $2::bigint, 'to', $3::bigint,"
    "   't', coalesce(jsonb_agg(ms(t) ORDER BY t), '[]'),"
    "   'cpu', coalesce(jsonb_agg(cpu ORDER BY t), '[]'),"
    "   'memory_used', coalesce(jsonb_agg(memory_used ORDER BY t), '[]'),"
    "   'memory_total', coalesce(jsonb_agg(memory_total ORDER BY t), '[]'),"
    "   'margin_c', coalesce(jsonb_agg(margin ORDER BY t), '[]'),"
    "   'throttled', coalesce(jsonb_agg(throttled ORDER BY t), '[]'),"
    "   'temps', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', n.name, 'trip_c', n.trip, 'c',"
    "                (SELECT jsonb_agg(p.temp_c[array_position(p.temp_names, n.name)] ORDER BY p.t) FROM point p))"
    "              ORDER BY n.name), '[]') FROM sensor n))"
    " FROM point";

enum err health_series(struct db *db, const char *device_id, int64_t from, int64_t to, int64_t step_ms, char **ret_json,
                       struct err_info *info)
{
    return db_query_text(db, series_sql, DB_ARGS(db_text(device_id), db_i64(from), db_i64(to), db_i64(step_ms)),
                         ret_json, info);
}
