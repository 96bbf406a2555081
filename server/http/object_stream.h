#pragma once
/* An object's bytes straight out of the database, for when the disk cache has no room: an I/O thread sends one chunk
 * while it waits for nothing; the next one is fetched by a worker, and the connection sleeps meanwhile. */

#include "server/http/request.h"

/* A response for the bytes first … last of the object. Its digest is not checked here: who reads it does. */
[[nodiscard]] enum err object_stream_new(struct http *http, struct MHD_Connection *connection,
                                         const struct object_row *object, int64_t first, int64_t last,
                                         struct MHD_Response **ret_response);
