#pragma once
/* The two HTTPS ports of musterd. docs/design/http.md tells which thread does what. */

#include "common/base/err.h"
#include "server/server.h"

struct http;

/* Starts I/O threads and workers, and listens. The server's parts must be there, and outlive it. Errors name the
 * setting or the file. */
[[nodiscard]] enum err http_start(struct server *server, struct http **ret_http, struct err_info *info);

/* Listens no more, ends the streams (broadcast_stop), lets requests end for some seconds, then cuts the rest. Joins all
 * threads. NULL is fine. */
void http_stop(struct http *http);
