#pragma once
/* From the inbox into PostgreSQL: one thread per part of the inbox, each with its own connection, writes what has
 * arrived in one transaction and acknowledges after the commit. While the database is away messages are dropped
 * without an acknowledgement, and devices send them again. docs/design/ingest.md tells the whole story. */

#include "common/base/err.h"

struct ingest;
struct mqtt_link;

struct ingest_settings {
    const char *database_url;
    int statement_timeout_ms;
    double beat_s; /* what devices are told to keep */
    struct mqtt_link *link;
};

/* Starts the writers and the thread that makes day partitions ahead; text is copied. The database need not be there
 * yet, but its schema must be when it is. */
[[nodiscard]] enum err ingest_start(const struct ingest_settings *settings, struct ingest **ret_ingest,
                                    struct err_info *info);

/* Ends the threads after the batches they are writing, and waits: at most one statement timeout. NULL is fine. */
void ingest_stop(struct ingest *ingest);
