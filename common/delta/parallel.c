#include "common/delta/parallel.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"

#include <sched.h>
#include <stdatomic.h>

enum { PROGRESS_MS = 100, STACK_BYTES = 1024 * 1024 /* a rebuild has to work in little address space */ };

int parallel_threads(const struct delta_options *options)
{
    cpu_set_t set;
    int threads = options->threads;
    if (threads <= 0)
        threads = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return threads < 1 ? 1 : threads > PARALLEL_THREADS_MAX ? PARALLEL_THREADS_MAX : threads;
}

struct parallel {
    atomic_size_t next;
    atomic_int error;
    size_t count;
    enum err (*work)(void *user, size_t i);
    void *user;
};

static void *parallel_main(void *arg)
{
    struct parallel *p = arg;
    for (;;) {
        size_t i = atomic_fetch_add(&p->next, 1);
        if (i >= p->count || atomic_load(&p->error) != ERR_OK)
            return NULL;
        enum err e = p->work(p->user, i);
        int none = ERR_OK;
        if (e != ERR_OK)
            (void)atomic_compare_exchange_strong(&p->error, &none, (int)e);
    }
}

enum err parallel_run(size_t count, int threads, enum err (*work)(void *user, size_t i), void *user)
{
    struct parallel p = {.count = count, .work = work, .user = user};
    pthread_t others[PARALLEL_THREADS_MAX];
    pthread_attr_t attr;
    size_t started = 0;
    if (pthread_attr_init(&attr) != 0)
        return ERR_NO_MEMORY;
    (void)pthread_attr_setstacksize(&attr, STACK_BYTES);
    while (started + 1 < (size_t)threads && started + 1 < count && started < PARALLEL_THREADS_MAX &&
           pthread_create(&others[started], &attr, parallel_main, &p) == 0)
        started++;
    (void)pthread_attr_destroy(&attr);
    (void)parallel_main(&p);
    for (size_t i = 0; i < started; i++)
        (void)pthread_join(others[i], NULL);
    return (enum err)atomic_load(&p.error);
}

/* ---- progress ---- */

void progress_begin(struct progress *p, const struct delta_options *options)
{
    *p = (struct progress){.options = options, .mutex = PTHREAD_MUTEX_INITIALIZER, .told_at_ms = clock_mono_ms()};
}

void progress_end(struct progress *p)
{
    if (p->options->progress != NULL)
        p->options->progress(p->options->user, 1.0);
    (void)pthread_mutex_destroy(&p->mutex);
}

void progress_phase(struct progress *p, double until)
{
    cleanup_unlock pthread_mutex_t *held = &p->mutex;
    pthread_mutex_lock(held);
    p->start += p->span;
    p->span = until - p->start;
}

void progress_tell(struct progress *p, double done)
{
    if (p->options->progress == NULL)
        return;
    cleanup_unlock pthread_mutex_t *held = &p->mutex;
    pthread_mutex_lock(held);
    int64_t now = clock_mono_ms();
    double all = p->start + p->span * (done < 0 ? 0 : done > 1 ? 1 : done);
    if (all <= p->told || now - p->told_at_ms < PROGRESS_MS)
        return;
    p->told = all;
    p->told_at_ms = now;
    p->options->progress(p->options->user, all);
}
