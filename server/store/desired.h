#pragma once
/* What every device should run, and the document that tells it. Every change raises the device's generation; the
 * orchestrator's leader notices that and has the document published (a hint: devices also ask by themselves). */

#include "server/db/db.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* The desired document of api/mqtt.md. beat_s: seconds between beats. A device that should run nothing yet gets
 * no slots. ERR_NOT_FOUND: no such device, or retired. free() the result. */
[[nodiscard]] enum err desired_document(struct db *db, const char *device_id, double beat_s, char **ret_json,
                                        struct err_info *info);

/* Whether the object is a way to get a bundle that the device is to run. */
[[nodiscard]] enum err desired_allows_object(struct db *db, const char *device_id, const char *sha256,
                                             bool *ret_allowed, struct err_info *info);

/* Raises the generation: something in the device's document (a hold) has changed. Inside the caller's transaction. */
[[nodiscard]] enum err desired_touch(struct db *db, const char *device_id, struct err_info *info);

/* The next three change what devices of a rollout should run in its slot, raise their generations, and note those in
 * the assignments. device_ids: JSON array of ids, each once; empty does nothing. Inside the caller's transaction. */

/* The rollout's bundle. */
[[nodiscard]] enum err desired_offer(struct db *db, int64_t rollout_id, const json_t *device_ids,
                                     struct err_info *info);
/* The assignment's previous bundle; a hold does not stop it. */
[[nodiscard]] enum err desired_return(struct db *db, int64_t rollout_id, const json_t *device_ids,
                                      struct err_info *info);
/* Nothing: the slot is not mentioned any more. */
[[nodiscard]] enum err desired_clear(struct db *db, int64_t rollout_id, const json_t *device_ids,
                                     struct err_info *info);

/* Marks up to limit devices whose generation moved since they were last hinted, and gives their ids, one per row, in
 * column 0. rows_free() them. */
[[nodiscard]] enum err desired_take_hints(struct db *db, int64_t limit, struct rows **ret_rows, struct err_info *info);
