#include "server/http/watch.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"

#include <stdbool.h>
#include <sys/socket.h>
#include <time.h>

struct watched {
    int fd;
    int64_t deadline_ms; /* monotonic; 0: none */
    struct watched *next, *prev;
};

struct watch {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    bool stopping;
    struct watched *first; /* list of all, guarded by lock */
};

/* The socket is not closed here: it is libmicrohttpd's, which sees the end of the connection and cleans up. */
static void late_cut(struct watch *w)
{
    int64_t now = clock_mono_ms();
    int cut = 0;
    for (struct watched *at = w->first; at != NULL; at = at->next)
        if (at->deadline_ms != 0 && at->deadline_ms <= now) {
            (void)shutdown(at->fd, SHUT_RDWR);
            at->deadline_ms = 0;
            cut++;
        }
    if (cut > 0)
        log_debug("slow_clients_cut", "count=%d", cut);
}

static void *watch_main(void *arg)
{
    struct watch *w = arg;
    cleanup_unlock pthread_mutex_t *held = &w->lock;
    (void)pthread_mutex_lock(held);
    while (!w->stopping) {
        late_cut(w);
        struct timespec until;
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += 1;
        (void)pthread_cond_timedwait(&w->wake, &w->lock, &until);
    }
    return NULL;
}

enum err watch_start(struct watch **ret_watch, struct err_info *info)
{
    struct watch *w = calloc(1, sizeof *w);
    if (w == NULL)
        return err_set(info, ERR_NO_MEMORY, "no memory for the connection watch");
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&w->wake, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    (void)pthread_mutex_init(&w->lock, NULL);
    if (pthread_create(&w->thread, NULL, watch_main, w) != 0) {
        free(w);
        return err_set(info, ERR_NO_MEMORY, "cannot start the connection watch");
    }
    *ret_watch = w;
    return ERR_OK;
}

void watch_stop(struct watch *w)
{
    if (w == NULL)
        return;
    (void)pthread_mutex_lock(&w->lock);
    w->stopping = true;
    (void)pthread_cond_signal(&w->wake);
    (void)pthread_mutex_unlock(&w->lock);
    (void)pthread_join(w->thread, NULL);
    (void)pthread_cond_destroy(&w->wake);
    (void)pthread_mutex_destroy(&w->lock);
    free(w);
}

struct watched *watch_add(struct watch *w, int fd)
{
    struct watched *watched = calloc(1, sizeof *watched);
    if (watched == NULL)
        return NULL;
    watched->fd = fd;
    watched->deadline_ms = clock_mono_ms() + WATCH_GRACE_MS;
    cleanup_unlock pthread_mutex_t *held = &w->lock;
    (void)pthread_mutex_lock(held);
    watched->next = w->first;
    if (w->first != NULL)
        w->first->prev = watched;
    w->first = watched;
    return watched;
}

void watch_remove(struct watch *w, struct watched *watched)
{
    if (watched == NULL)
        return;
    (void)pthread_mutex_lock(&w->lock);
    if (watched->prev != NULL)
        watched->prev->next = watched->next;
    else
        w->first = watched->next;
    if (watched->next != NULL)
        watched->next->prev = watched->prev;
    (void)pthread_mutex_unlock(&w->lock);
    free(watched);
}

static void deadline_set(struct watch *w, struct watched *watched, int64_t deadline_ms)
{
    if (watched == NULL)
        return;
    cleanup_unlock pthread_mutex_t *held = &w->lock;
    (void)pthread_mutex_lock(held);
    watched->deadline_ms = deadline_ms;
}

void watch_expect(struct watch *w, struct watched *watched, int64_t since_ms, int64_t bytes)
{
    deadline_set(w, watched, since_ms + WATCH_GRACE_MS + bytes * 1000 / WATCH_BYTES_PER_S);
}

void watch_rest(struct watch *w, struct watched *watched)
{
    deadline_set(w, watched, 0);
}
