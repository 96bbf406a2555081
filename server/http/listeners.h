#pragma once
/* The open streams of browsers: suspended responses, each with a bounded buffer. Any thread; a lock guards them all and
 * is never held while waiting. */

#include "common/base/err.h"
#include "server/http/credential.h"

#include <stdbool.h>
#include <stddef.h>

struct listeners;
struct MHD_Connection;
struct MHD_Response;

enum { LISTENERS_MAX = 200, LISTENER_BUFFER_MAX = 256 * 1024 };

[[nodiscard]] enum err listeners_new(struct listeners **ret_listeners);
/* There is none left. */
void listeners_free(struct listeners *l);

/* A new one; it wants a resync. ERR_UNAVAILABLE: too many, or the server stops. */
[[nodiscard]] enum err listeners_add(struct listeners *l, struct MHD_Connection *connection,
                                     const struct credential *credential, struct MHD_Response **ret_response,
                                     struct err_info *info);

/* Waits until there is a listener and at least period_ms have passed, or one has come that wants a resync. false: the
 * server stops. */
bool listeners_wait(struct listeners *l, int64_t period_ms);

/* How many there are. */
size_t listeners_count(struct listeners *l);

/* Ends the wait, and every stream after what is in its buffer. */
void listeners_stop(struct listeners *l);

/* Gives a resync to those that want one and the frame to all others; NULL: nothing to say. all_resync: everybody gets a
 * resync instead. Who has heard nothing for long gets a heartbeat; a reader that is too slow is cut. */
void listeners_tell(struct listeners *l, const char *frame, bool all_resync);

/* Copies the credential of the listener that was checked longest ago, if that is long ago enough. */
bool listeners_next_check(struct listeners *l, struct credential *ret_credential);

/* Ends the streams of this credential. */
void listeners_cut(struct listeners *l, const struct credential *credential);
