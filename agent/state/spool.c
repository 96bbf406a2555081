#include "agent/state/spool.h"

#include "agent/core/up.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/crypt.h"
#include "common/base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EPOCH_BYTES = 8, BATCH_ITEMS_MAX = 2000, ENVELOPE_MAX = 256 };

struct spool {
    struct state *state;
    int64_t limit;
    char epoch[2 * EPOCH_BYTES + 1];
    int64_t next_seq;            /* of the batch that will be frozen next */
    int64_t frozen;              /* seq of the batch on the disk, 0: none */
    bool acked;                  /* it was acknowledged */
    int64_t bytes[SPOOL_RANKS_]; /* of the items in no batch */
};

/* ---- opening ---- */

static enum err epoch_load(struct spool *spool)
{
    uint8_t random[EPOCH_BYTES];
    cleanup_free char *epoch = NULL;
    enum err e = state_text_get(spool->state, "spool_epoch", &epoch);
    if (e == ERR_OK) {
        (void)text_copy(spool->epoch, sizeof spool->epoch, epoch);
        return ERR_OK;
    }
    if (e == ERR_NOT_FOUND)
        e = random_bytes(random, sizeof random);
    if (e != ERR_OK)
        return e;
    text_hex(random, sizeof random, spool->epoch);
    return state_text_put(spool->state, "spool_epoch", spool->epoch);
}

static enum err bytes_load(struct spool *spool)
{
    cleanup_statement sqlite3_stmt *statement = NULL;
    bool row = true;
    memset(spool->bytes, 0, sizeof spool->bytes);
    enum err e =
        state_prepare(spool->state, "SELECT rank, sum(bytes) FROM item WHERE seq IS NULL GROUP BY rank", &statement);
    while (e == ERR_OK) {
        e = state_row(statement, &row);
        if (e != ERR_OK || !row)
            return e;
        int rank = sqlite3_column_int(statement, 0);
        if (rank >= 0 && rank < SPOOL_RANKS_)
            spool->bytes[rank] = sqlite3_column_int64(statement, 1);
    }
    return e;
}

static enum err frozen_load(struct spool *spool)
{
    cleanup_statement sqlite3_stmt *statement = NULL;
    bool row = false;
    enum err e = state_prepare(spool->state, "SELECT max(seq) FROM item WHERE seq IS NOT NULL", &statement);
    if (e == ERR_OK)
        e = state_row(statement, &row);
    if (e == ERR_OK)
        spool->frozen = row ? sqlite3_column_int64(statement, 0) : 0;
    return e;
}

enum err spool_reload(struct spool *spool)
{
    spool->acked = false;
    enum err e = state_number_get(spool->state, "spool_next_seq", &spool->next_seq);
    if (e == ERR_NOT_FOUND) {
        spool->next_seq = 1;
        e = ERR_OK;
    }
    if (e == ERR_OK)
        e = frozen_load(spool);
    return e == ERR_OK ? bytes_load(spool) : e;
}

enum err spool_open(struct state *state, int64_t limit, struct spool **ret_spool)
{
    struct spool *spool = calloc(1, sizeof *spool);
    if (spool == NULL)
        return ERR_NO_MEMORY;
    spool->state = state;
    spool->limit = limit;
    enum err e = epoch_load(spool);
    if (e == ERR_OK)
        e = spool_reload(spool);
    if (e != ERR_OK) {
        spool_close(spool);
        return e;
    }
    *ret_spool = spool;
    return ERR_OK;
}

void spool_close(struct spool *spool)
{
    free(spool);
}

/* ---- items ---- */

/* The last id to drop so that at least `bytes` bytes of a rank go, oldest first, and how many items that are. */
static enum err drop_find(struct spool *spool, int rank, int64_t bytes, int64_t *ret_last, int64_t *ret_count,
                          int64_t *ret_bytes)
{
    cleanup_statement sqlite3_stmt *statement = NULL;
    bool row = true;
    *ret_last = *ret_count = *ret_bytes = 0;
    enum err e = state_prepare(spool->state, "SELECT id, bytes FROM item WHERE seq IS NULL AND rank = ?1 ORDER BY id",
                               &statement);
    if (e == ERR_OK && sqlite3_bind_int(statement, 1, rank) != SQLITE_OK)
        e = ERR_NO_MEMORY;
    while (e == ERR_OK && *ret_bytes < bytes) {
        e = state_row(statement, &row);
        if (e != ERR_OK || !row)
            break;
        *ret_last = sqlite3_column_int64(statement, 0);
        *ret_bytes += sqlite3_column_int64(statement, 1);
        (*ret_count)++;
    }
    return e;
}

static enum err drop_oldest(struct spool *spool, int rank, int64_t bytes, int64_t *dropped)
{
    cleanup_statement sqlite3_stmt *statement = NULL;
    int64_t last = 0;
    int64_t count = 0;
    int64_t freed = 0;
    enum err e = drop_find(spool, rank, bytes, &last, &count, &freed);
    if (e == ERR_OK)
        e = state_prepare(spool->state, "DELETE FROM item WHERE seq IS NULL AND rank = ?1 AND id <= ?2", &statement);
    if (e == ERR_OK && (sqlite3_bind_int(statement, 1, rank) | sqlite3_bind_int64(statement, 2, last)) != SQLITE_OK)
        e = ERR_NO_MEMORY;
    if (e == ERR_OK)
        e = state_run(statement);
    if (e != ERR_OK)
        return e;
    spool->bytes[rank] -= freed;
    *dropped += count;
    return ERR_OK;
}

static enum err limit_keep(struct spool *spool)
{
    int64_t drop[SPOOL_RANKS_];
    int64_t before = 0;
    int64_t dropped = 0;
    enum err e = ERR_OK;
    spool_plan_drop(spool->bytes, spool->limit, drop);
    for (int rank = 0; e == ERR_OK && rank < SPOOL_RANKS_; rank++)
        if (drop[rank] > 0)
            e = drop_oldest(spool, rank, drop[rank], &dropped);
    if (e != ERR_OK || dropped == 0)
        return e;
    e = state_number_get(spool->state, "spool_dropped", &before);
    if (e == ERR_OK || e == ERR_NOT_FOUND)
        e = state_number_put(spool->state, "spool_dropped", before + dropped);
    return e;
}

enum err spool_add(struct spool *spool, enum spool_rank rank, const char *item)
{
    cleanup_statement sqlite3_stmt *statement = NULL;
    size_t len = strlen(item);
    if (len > SPOOL_ITEM_MAX)
        return ERR_TOO_LARGE;
    enum err e = state_prepare(spool->state, "INSERT INTO item (rank, bytes, body) VALUES (?1, ?2, ?3)", &statement);
    if (e == ERR_OK && (sqlite3_bind_int(statement, 1, (int)rank) | sqlite3_bind_int64(statement, 2, (int64_t)len) |
                        sqlite3_bind_text(statement, 3, item, (int)len, SQLITE_STATIC)) != SQLITE_OK)
        e = ERR_NO_MEMORY;
    if (e == ERR_OK)
        e = state_run(statement);
    if (e != ERR_OK)
        return e;
    spool->bytes[rank] += (int64_t)len;
    return limit_keep(spool);
}

/* ---- batches ---- */

/* What was dropped becomes an event of the batch that is frozen now. */
static enum err dropped_tell(struct spool *spool)
{
    int64_t dropped = 0;
    char detail[64];
    cleanup_free char *item = NULL;
    enum err e = state_number_get(spool->state, "spool_dropped", &dropped);
    if (e == ERR_NOT_FOUND || (e == ERR_OK && dropped == 0))
        return ERR_OK;
    (void)snprintf(detail, sizeof detail, "the spool was full: %" PRId64 " items dropped", dropped);
    if (e == ERR_OK)
        e = up_event(clock_wall_ms(), "spool_dropped", NULL, detail, &item);
    if (e == ERR_OK)
        e = spool_add(spool, SPOOL_EVENT, item);
    return e == ERR_OK ? state_number_put(spool->state, "spool_dropped", 0) : e;
}

/* The items of the next batch are those up to (rank, id) in the order of sending. */
static enum err batch_find(struct spool *spool, int64_t bytes[SPOOL_RANKS_], int *ret_rank, int64_t *ret_id)
{
    cleanup_statement sqlite3_stmt *statement = NULL;
    int64_t sum = 0;
    bool row = true;
    *ret_id = 0;
    enum err e =
        state_prepare(spool->state, "SELECT rank, id, bytes FROM item WHERE seq IS NULL ORDER BY rank, id", &statement);
    for (int items = 0; e == ERR_OK && items < BATCH_ITEMS_MAX; items++) {
        e = state_row(statement, &row);
        if (e != ERR_OK || !row)
            break;
        int rank = sqlite3_column_int(statement, 0);
        int64_t size = sqlite3_column_int64(statement, 2);
        if (sum + size + 1 > SPOOL_BATCH_MAX || rank < 0 || rank >= SPOOL_RANKS_)
            break;
        sum += size + 1;
        bytes[rank] += size;
        *ret_rank = rank;
        *ret_id = sqlite3_column_int64(statement, 1);
    }
    return e;
}

static enum err batch_mark(struct spool *spool, int rank, int64_t id)
{
    cleanup_statement sqlite3_stmt *statement = NULL;
    enum err e = state_prepare(spool->state, "UPDATE item SET seq = ?1 WHERE seq IS NULL AND (rank, id) <= (?2, ?3)",
                               &statement);
    if (e == ERR_OK && (sqlite3_bind_int64(statement, 1, spool->next_seq) | sqlite3_bind_int(statement, 2, rank) |
                        sqlite3_bind_int64(statement, 3, id)) != SQLITE_OK)
        e = ERR_NO_MEMORY;
    return e == ERR_OK ? state_run(statement) : e;
}

static enum err acked_remove(struct spool *spool)
{
    cleanup_statement sqlite3_stmt *statement = NULL;
    enum err e = state_prepare(spool->state, "DELETE FROM item WHERE seq IS NOT NULL", &statement);
    if (e == ERR_OK)
        e = state_run(statement);
    if (e != ERR_OK)
        return e;
    spool->frozen = 0;
    spool->acked = false;
    return ERR_OK;
}

enum err spool_freeze(struct spool *spool)
{
    int64_t bytes[SPOOL_RANKS_] = {0};
    int rank = 0;
    int64_t id = 0;
    if ((spool->frozen != 0 && !spool->acked) || !spool_has(spool, SPOOL_TELEMETRY))
        return ERR_OK;
    enum err e = spool->frozen != 0 ? acked_remove(spool) : ERR_OK;
    if (e == ERR_OK)
        e = dropped_tell(spool);
    if (e == ERR_OK)
        e = batch_find(spool, bytes, &rank, &id);
    if (e != ERR_OK || id == 0)
        return e;
    e = batch_mark(spool, rank, id);
    if (e == ERR_OK)
        e = state_number_put(spool->state, "spool_next_seq", spool->next_seq + 1);
    if (e != ERR_OK)
        return e;
    for (int i = 0; i < SPOOL_RANKS_; i++)
        spool->bytes[i] -= bytes[i];
    spool->frozen = spool->next_seq++;
    return ERR_OK;
}

/* Items are JSON already: they are joined as they are, so that a large batch is not parsed and printed again. */
static enum err items_join(struct spool *spool, struct buf *out)
{
    cleanup_statement sqlite3_stmt *statement = NULL;
    bool row = true;
    enum err e = state_prepare(spool->state, "SELECT body FROM item WHERE seq = ?1 ORDER BY seq, rank, id", &statement);
    if (e == ERR_OK && sqlite3_bind_int64(statement, 1, spool->frozen) != SQLITE_OK)
        e = ERR_NO_MEMORY;
    for (bool first = true; e == ERR_OK; first = false) {
        e = state_row(statement, &row);
        if (e != ERR_OK || !row)
            break;
        if (!first)
            e = buf_add_text(out, ",");
        if (e == ERR_OK)
            e = buf_add_text(out, state_column_text(statement, 0));
    }
    return e;
}

enum err spool_message(struct spool *spool, char **ret_text)
{
    cleanup_buf struct buf out = BUF_INIT(SPOOL_BATCH_MAX + ENVELOPE_MAX);
    if (spool->frozen == 0 || spool->acked)
        return ERR_NOT_FOUND;
    enum err e = buf_addf(&out, "{\"epoch\":\"%s\",\"seq\":\"%" PRId64 "\",\"items\":[", spool->epoch, spool->frozen);
    if (e == ERR_OK)
        e = items_join(spool, &out);
    if (e == ERR_OK)
        e = buf_add_text(&out, "]}");
    if (e == ERR_OK)
        *ret_text = buf_take(&out);
    return e;
}

bool spool_ack(struct spool *spool, const char *epoch, int64_t seq)
{
    if (!text_eq(epoch, spool->epoch) || spool->frozen == 0 || spool->acked || seq < spool->frozen)
        return false;
    spool->acked = true;
    return true;
}

const char *spool_epoch(const struct spool *spool)
{
    return spool->epoch;
}

int64_t spool_limit(const struct spool *spool)
{
    return spool->limit;
}

void spool_range(const struct spool *spool, int64_t *ret_first, int64_t *ret_last)
{
    bool waits = spool->frozen != 0 && !spool->acked;
    *ret_first = waits ? spool->frozen : spool->next_seq;
    *ret_last = waits ? spool->frozen : spool->next_seq - 1;
}

bool spool_has(const struct spool *spool, enum spool_rank rank)
{
    for (int i = 0; i <= (int)rank; i++)
        if (spool->bytes[i] > 0)
            return true;
    return false;
}

enum err spool_count(struct state *state, int64_t *ret_items, int64_t *ret_bytes)
{
    cleanup_statement sqlite3_stmt *statement = NULL;
    bool row = false;
    enum err e = state_prepare(state, "SELECT count(*), coalesce(sum(bytes), 0) FROM item", &statement);
    if (e == ERR_OK)
        e = state_row(statement, &row);
    if (e != ERR_OK)
        return e;
    *ret_items = sqlite3_column_int64(statement, 0);
    *ret_bytes = sqlite3_column_int64(statement, 1);
    return ERR_OK;
}
