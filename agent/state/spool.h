#pragma once
/* The spool: what waits to be sent. Items are stored one by one; a batch freezes the most important ones under a
 * sequence number and stays as it is until it is acknowledged. The number of items that a full spool has dropped goes
 * out as an event of its own. */

#include "agent/core/spool_policy.h"
#include "agent/state/state.h"

#include <stddef.h>

struct spool;

/* limit: bytes of items to keep at most. A new state gets a new epoch. state is borrowed. */
[[nodiscard]] enum err spool_open(struct state *state, int64_t limit, struct spool **ret_spool);
void spool_close(struct spool *spool);

/* Stores an item (JSON text), in the caller's transaction if there is one, and drops others when the limit is passed.
 * ERR_TOO_LARGE above SPOOL_ITEM_MAX. */
[[nodiscard]] enum err spool_add(struct spool *spool, enum spool_rank rank, const char *item);

/* Freezes the next batch unless one waits for its acknowledgement already; nothing when there are no items. To be
 * called in a transaction. */
[[nodiscard]] enum err spool_freeze(struct spool *spool);

/* What is on the disk again, after a transaction with one of the two above was rolled back. */
[[nodiscard]] enum err spool_reload(struct spool *spool);

/* The `data` message of the batch that waits. ERR_NOT_FOUND when none does. free() the text. */
[[nodiscard]] enum err spool_message(struct spool *spool, char **ret_text);

/* The server has committed everything up to seq: true when the waiting batch was among it. Its items are removed from
 * the disk together with the next freezing; until then a crash only makes the batch go out once more. */
bool spool_ack(struct spool *spool, const char *epoch, int64_t seq);

const char *spool_epoch(const struct spool *spool);

/* What spool_open() was given. */
int64_t spool_limit(const struct spool *spool);

/* The batches that wait: first > last when none does. */
void spool_range(const struct spool *spool, int64_t *ret_first, int64_t *ret_last);

/* What is on the disk, also what was acknowledged a moment ago. */
[[nodiscard]] enum err spool_count(struct state *state, int64_t *ret_items, int64_t *ret_bytes);

/* Some item of at least this rank is in no batch yet. */
bool spool_has(const struct spool *spool, enum spool_rank rank);
