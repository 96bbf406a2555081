#pragma once
/* Makes the deltas that the fleet is better off with (docs/design/deltas.md). One thread, one delta at a time, in every
 * musterd; a lease in the database keeps two of them from the same pair. It also removes uploads that have expired. */

#include "common/base/conf.h"
#include "common/base/err.h"

struct delta_maker;
struct object_cache;

/* conf and cache are borrowed until delta_maker_stop(). The database need not be there yet. */
[[nodiscard]] enum err delta_maker_start(const struct conf *conf, struct object_cache *cache,
                                         struct delta_maker **ret_maker, struct err_info *info);

/* Ends what it is at, gives its lease back, joins the thread. NULL is fine. */
void delta_maker_stop(struct delta_maker *maker);
