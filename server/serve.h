#pragma once
/* musterd at work: starts every part in order, waits for SIGTERM or SIGINT, stops them in the reverse order. */

#include "common/base/conf.h"
#include "common/base/err.h"

/* In the main thread, before there are others. Returns after everything has been joined. Waits some time for a database
 * that is not there yet. ERR_OK after a signal; errors say what could not be started, and what to do. */
[[nodiscard]] enum err serve(const struct conf *conf, struct err_info *info);
