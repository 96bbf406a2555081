#pragma once
/* What the disk knows of a slot, for people: versions and dates. Reads manifests below the working directory, the state
 * directory; changes nothing. */

#include "agent/core/status.h"

/* Fills everything but what only a running agent knows. row is borrowed. */
void gather_slot(const struct update_row *row, struct status_slot *ret_slot);

/* Which versions of the row are complete. */
struct update_here gather_here(const struct update_row *row);

/* Size and free bytes of the file system of the working directory; 0 when not known. */
void gather_disk(int64_t *ret_total, int64_t *ret_free);
