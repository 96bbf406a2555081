#pragma once
/* Sends desired documents: one thread takes hints (hints.h), reads each device's newest document from the store and
 * sends it. A message that is lost is made good by the next beat, or by the device asking over HTTPS. */

#include "common/base/err.h"

struct publisher;
struct mqtt_link;

struct publisher_settings {
    const char *database_url;
    int statement_timeout_ms;
    double beat_s; /* goes into the document */
    struct mqtt_link *link;
};

/* Starts the thread; text is copied. The database need not be there yet. */
[[nodiscard]] enum err publisher_start(const struct publisher_settings *settings, struct publisher **ret_publisher,
                                       struct err_info *info);

/* Ends the thread and waits: at most one statement timeout. NULL is fine. */
void publisher_stop(struct publisher *publisher);
