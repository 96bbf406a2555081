#pragma once
/* Is there room on the disk? */

#include "agent/fetch/outcome.h"

/* The file system of fd has room for need more bytes, and some to spare for the journal and the spool; else outcome
 * says how much is needed and how much there is. */
bool space_check(int fd, int64_t need, struct outcome *outcome);
