#pragma once
/* Tells browsers what has changed. One thread asks the database, only while somebody listens, and gives every listener
 * the topics. It sees the changes of every musterd on the same database. */

#include "common/base/err.h"
#include "server/http/credential.h"

#include <stddef.h>
#include <stdint.h>

struct broadcast;
struct MHD_Connection;
struct MHD_Response;

struct broadcast_settings {
    const char *database_url;
    int statement_timeout_ms;
    struct session_limits session_limits;
};

/* Starts the thread; text is copied. */
[[nodiscard]] enum err broadcast_start(const struct broadcast_settings *settings, struct broadcast **ret_broadcast,
                                       struct err_info *info);

/* Ends every stream and the thread. Their connections must be gone before broadcast_free(). */
void broadcast_stop(struct broadcast *b);
void broadcast_free(struct broadcast *b);

/* A new listener: an endless response for this connection, whose first frame is `event: resync`. It ends when the
 * credential is no longer good, when the reader is too slow, or at broadcast_stop(). Worker thread, while the
 * connection is suspended. ERR_UNAVAILABLE: too many listeners. */
[[nodiscard]] enum err broadcast_listen(struct broadcast *b, struct MHD_Connection *connection,
                                        const struct credential *credential, struct MHD_Response **ret_response,
                                        struct err_info *info);
