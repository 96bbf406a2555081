#pragma once
/* The same work for many parts, on several threads; and how far it all is. Internal to common/delta. */

#include "common/delta/delta.h"

#include <pthread.h>

enum { PARALLEL_THREADS_MAX = 256 };

/* options->threads, or the cores of this process. */
int parallel_threads(const struct delta_options *options);

/* Calls work(user, i) for i = 0 … count - 1, in this order as they begin, on up to `threads` threads; the first error
 * ends it. */
[[nodiscard]] enum err parallel_run(size_t count, int threads, enum err (*work)(void *user, size_t i), void *user);

/* Progress of several phases, told to options->progress: any thread may tell. */
struct progress {
    const struct delta_options *options;
    pthread_mutex_t mutex;
    double start, span; /* of the present phase */
    double told;
    int64_t told_at_ms;
};
void progress_begin(struct progress *p, const struct delta_options *options);
void progress_end(struct progress *p);
/* The next phase goes from where the last one ended to `until`. */
void progress_phase(struct progress *p, double until);
/* done: of the phase, 0 … 1. */
void progress_tell(struct progress *p, double done);
