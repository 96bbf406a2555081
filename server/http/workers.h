#pragma once
/* The threads that may wait for the database: a bounded queue of jobs, and workers with one connection each. */

#include "common/base/err.h"
#include "server/db/db.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct workers;

/* Part of what is to be done; owned by whoever pushes it, and not touched by the workers after run() was called. */
struct job {
    void (*run)(struct job *job, struct db *db);
    struct job *next_;
};

struct workers_settings {
    size_t count;     /* threads */
    size_t queue_max; /* jobs that may wait */
    const char *database_url;
    int statement_timeout_ms;
};

/* Starts the threads; text is copied. The database need not be there yet. */
[[nodiscard]] enum err workers_start(const struct workers_settings *settings, struct workers **ret_workers,
                                     struct err_info *info);

/* Keeps a place in the queue; false when there is none, or at the end. Then workers_push() is due. Any thread. */
[[nodiscard]] bool workers_admit(struct workers *w);
void workers_push(struct workers *w, struct job *job);

/* Takes no more jobs, does those that wait, joins the threads. NULL is fine. */
void workers_stop(struct workers *w);
