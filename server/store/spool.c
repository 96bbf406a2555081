#include "server/store/spool.h"

#include "common/base/cleanup.h"
#include "common/base/text.h"
#include "server/store/records.h"

#include <stdlib.h>

/* Rows are made and locked in one order everywhere, so that two servers with the same devices do not deadlock. */
static enum err positions_lock(struct db *db, const struct spool_batch *batches, size_t count, struct rows **ret_rows,
                               struct err_info *info)
{
    json_auto_t *records = json_array();
    for (size_t i = 0; i < count; i++) {
        enum err e =
            records_add(records, json_pack("{s:s, s:s}", "device_id", batches[i].device_id, "epoch", batches[i].epoch));
        if (e != ERR_OK)
            return e;
    }
    enum err e = records_query(db,
                               "INSERT INTO spool_position (device_id, epoch, last_seq)"
                               " SELECT DISTINCT device_id, epoch, 0"
                               " FROM jsonb_to_recordset($1::jsonb) AS x(device_id text, epoch text)"
                               " ORDER BY device_id, epoch ON CONFLICT DO NOTHING",
                               records, DB_NO_ARGS, NULL, info);
    if (e != ERR_OK)
        return e;
    return records_query(db,
                         "SELECT p.device_id, p.epoch, p.last_seq FROM spool_position p"
                         " JOIN (SELECT DISTINCT device_id, epoch"
                         "       FROM jsonb_to_recordset($1::jsonb) AS x(device_id text, epoch text)) x"
                         " USING (device_id, epoch) ORDER BY p.device_id, p.epoch FOR UPDATE OF p",
                         records, DB_NO_ARGS, ret_rows, info);
}

/* Row of the batch's spool. */
static size_t position_find(const struct rows *rows, const struct spool_batch *batch)
{
    size_t row = 0;
    while (row < rows_count(rows) &&
           !(text_eq(rows_text(rows, row, 0), batch->device_id) && text_eq(rows_text(rows, row, 1), batch->epoch)))
        row++;
    return row;
}

static enum err batches_compare(const struct rows *rows, struct spool_batch *batches, size_t count,
                                struct err_info *info)
{
    cleanup_free int64_t *last = calloc(rows_count(rows) + 1, sizeof *last);
    if (last == NULL)
        return ERR_NO_MEMORY;
    for (size_t row = 0; row < rows_count(rows); row++)
        last[row] = rows_i64(rows, row, 2);
    for (size_t i = 0; i < count; i++) {
        size_t row = position_find(rows, &batches[i]);
        if (row == rows_count(rows))
            return err_set(info, ERR_INTERNAL, "the position of a spool is missing");
        batches[i].fresh = batches[i].seq > last[row];
        if (batches[i].fresh)
            last[row] = batches[i].seq;
    }
    return ERR_OK;
}

enum err spool_take(struct db *db, struct spool_batch *batches, size_t count, struct err_info *info)
{
    if (count == 0)
        return ERR_OK;
    cleanup_rows struct rows *rows = NULL;
    enum err e = positions_lock(db, batches, count, &rows, info);
    if (e == ERR_OK)
        e = batches_compare(rows, batches, count, info);
    if (e != ERR_OK)
        return e;
    json_auto_t *records = json_array();
    for (size_t i = 0; e == ERR_OK && i < count; i++)
        if (batches[i].fresh)
            e = records_add(records, json_pack("{s:s, s:s, s:I, s:I}", "device_id", batches[i].device_id, "epoch",
                                               batches[i].epoch, "seq", (json_int_t)batches[i].seq, "items",
                                               (json_int_t)batches[i].items));
    if (e != ERR_OK || json_array_size(records) == 0)
        return e;
    return records_query(db,
                         "WITH x AS (SELECT * FROM jsonb_to_recordset($1::jsonb)"
                         "           AS x(device_id text, epoch text, seq bigint, items integer)),"
                         " moved AS (UPDATE spool_position p SET last_seq = n.seq"
                         "           FROM (SELECT device_id, epoch, max(seq) AS seq FROM x GROUP BY 1, 2) n"
                         "           WHERE p.device_id = n.device_id AND p.epoch = n.epoch)"
                         " INSERT INTO ingest_batch (device_id, epoch, seq, items)"
                         " SELECT device_id, epoch, seq, items FROM x",
                         records, DB_NO_ARGS, NULL, info);
}
