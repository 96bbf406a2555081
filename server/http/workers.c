#include "server/http/workers.h"

#include "common/base/cleanup.h"

struct worker {
    struct workers *pool;
    struct db *db;
    pthread_t thread;
    bool started;
};

struct workers {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct job *first, *last;
    size_t admitted; /* promised places and waiting jobs */
    size_t queue_max;
    bool stopping;
    size_t count;
    struct worker workers[];
};

/* The next job; NULL when there will be no more. */
static struct job *job_take(struct workers *w)
{
    cleanup_unlock pthread_mutex_t *held = &w->lock;
    (void)pthread_mutex_lock(held);
    while (w->first == NULL && !(w->stopping && w->admitted == 0))
        (void)pthread_cond_wait(&w->wake, &w->lock);
    struct job *job = w->first;
    if (job == NULL)
        return NULL;
    w->first = job->next_;
    if (w->first == NULL)
        w->last = NULL;
    w->admitted--;
    if (w->stopping && w->admitted == 0)
        (void)pthread_cond_broadcast(&w->wake);
    return job;
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    for (struct job *job = NULL; (job = job_take(worker->pool)) != NULL;)
        job->run(job, worker->db);
    return NULL;
}

bool workers_admit(struct workers *w)
{
    cleanup_unlock pthread_mutex_t *held = &w->lock;
    (void)pthread_mutex_lock(held);
    if (w->stopping || w->admitted >= w->queue_max)
        return false;
    w->admitted++;
    return true;
}

void workers_push(struct workers *w, struct job *job)
{
    cleanup_unlock pthread_mutex_t *held = &w->lock;
    (void)pthread_mutex_lock(held);
    job->next_ = NULL;
    if (w->last == NULL)
        w->first = job;
    else
        w->last->next_ = job;
    w->last = job;
    (void)pthread_cond_signal(&w->wake);
}

static enum err worker_start(struct workers *w, struct worker *worker, const struct workers_settings *settings)
{
    worker->pool = w;
    enum err e = db_new(settings->database_url, "musterd http", settings->statement_timeout_ms, &worker->db);
    if (e != ERR_OK)
        return e;
    if (pthread_create(&worker->thread, NULL, worker_main, worker) != 0)
        return ERR_NO_MEMORY;
    worker->started = true;
    return ERR_OK;
}

enum err workers_start(const struct workers_settings *settings, struct workers **ret_workers, struct err_info *info)
{
    struct workers *w = calloc(1, sizeof *w + settings->count * sizeof w->workers[0]);
    if (w == NULL)
        return err_set(info, ERR_NO_MEMORY, "no memory for the HTTP workers");
    w->queue_max = settings->queue_max;
    w->count = settings->count;
    (void)pthread_mutex_init(&w->lock, NULL);
    (void)pthread_cond_init(&w->wake, NULL);
    for (size_t i = 0; i < w->count; i++)
        if (worker_start(w, &w->workers[i], settings) != ERR_OK) {
            workers_stop(w);
            return err_set(info, ERR_NO_MEMORY, "cannot start %zu HTTP workers", settings->count);
        }
    *ret_workers = w;
    return ERR_OK;
}

void workers_stop(struct workers *w)
{
    if (w == NULL)
        return;
    (void)pthread_mutex_lock(&w->lock);
    w->stopping = true;
    (void)pthread_cond_broadcast(&w->wake);
    (void)pthread_mutex_unlock(&w->lock);
    for (size_t i = 0; i < w->count; i++) {
        if (w->workers[i].started)
            (void)pthread_join(w->workers[i].thread, NULL);
        db_free(w->workers[i].db);
    }
    (void)pthread_cond_destroy(&w->wake);
    (void)pthread_mutex_destroy(&w->lock);
    free(w);
}
