#include "server/http/listeners.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"

#include <errno.h>
#include <microhttpd.h>
#include <string.h>

enum { HEARTBEAT_MS = 15000, CHECK_MS = 30000, BLOCK = 16 * 1024 };

static const char RESYNC[] = "event: resync\ndata: {}\n\n";
static const char HEARTBEAT[] = ":hb\n\n";

struct listener {
    struct listeners *all;
    struct MHD_Connection *connection;
    struct credential credential;
    struct buf out; /* to be sent, from `sent` on */
    size_t sent;
    bool suspended;
    bool wants_resync;
    bool ending;        /* after what is in the buffer */
    int64_t told_ms;    /* when something was last put into the buffer */
    int64_t checked_ms; /* when the credential was last known to be good */
    struct listener *next, *prev;
};

struct listeners {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stopping;
    size_t count;
    struct listener *first;
};

enum err listeners_new(struct listeners **ret_listeners)
{
    struct listeners *l = calloc(1, sizeof *l);
    if (l == NULL)
        return ERR_NO_MEMORY;
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&l->wake, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    (void)pthread_mutex_init(&l->lock, NULL);
    *ret_listeners = l;
    return ERR_OK;
}

void listeners_free(struct listeners *l)
{
    if (l == NULL)
        return;
    (void)pthread_cond_destroy(&l->wake);
    (void)pthread_mutex_destroy(&l->lock);
    free(l);
}

/* ---- one listener, under the lock */

static void listener_wake(struct listener *x)
{
    if (!x->suspended)
        return;
    x->suspended = false;
    MHD_resume_connection(x->connection);
}

static void listener_end(struct listener *x)
{
    x->ending = true;
    listener_wake(x);
}

/* A buffer that is full belongs to a reader that is too slow: it is cut, and comes back to a resync. */
static void listener_say(struct listener *x, const char *frame, int64_t now)
{
    if (x->ending)
        return;
    if (x->sent == x->out.len) {
        buf_clear(&x->out);
        x->sent = 0;
    }
    if (buf_add_text(&x->out, frame) != ERR_OK) {
        x->sent = x->out.len;
        listener_end(x);
        return;
    }
    x->told_ms = now;
    listener_wake(x);
}

/* ---- libmicrohttpd's side, in I/O threads */

static ssize_t on_read(void *cls, uint64_t position, char *out, size_t max)
{
    (void)position;
    struct listener *x = cls;
    cleanup_unlock pthread_mutex_t *held = &x->all->lock;
    (void)pthread_mutex_lock(held);
    size_t left = x->out.len - x->sent;
    if (left > 0) {
        size_t n = left < max ? left : max;
        memcpy(out, x->out.data + x->sent, n);
        x->sent += n;
        return (ssize_t)n;
    }
    if (x->ending || x->all->stopping)
        return MHD_CONTENT_READER_END_OF_STREAM;
    x->suspended = true;
    MHD_suspend_connection(x->connection);
    return 0;
}

static void on_free(void *cls)
{
    struct listener *x = cls;
    struct listeners *l = x->all;
    (void)pthread_mutex_lock(&l->lock);
    if (x->prev != NULL)
        x->prev->next = x->next;
    else
        l->first = x->next;
    if (x->next != NULL)
        x->next->prev = x->prev;
    l->count--;
    (void)pthread_mutex_unlock(&l->lock);
    buf_free(&x->out);
    free(x);
}

/* ---- the broadcaster's side */

enum err listeners_add(struct listeners *l, struct MHD_Connection *connection, const struct credential *credential,
                       struct MHD_Response **ret_response, struct err_info *info)
{
    struct listener *x = calloc(1, sizeof *x);
    if (x == NULL)
        return ERR_NO_MEMORY;
    int64_t now = clock_mono_ms();
    *x = (struct listener){.all = l,
                           .connection = connection,
                           .credential = *credential,
                           .out = BUF_INIT(LISTENER_BUFFER_MAX),
                           .wants_resync = true,
                           .told_ms = now,
                           .checked_ms = now};
    cleanup_unlock pthread_mutex_t *held = &l->lock;
    (void)pthread_mutex_lock(held);
    struct MHD_Response *response = NULL;
    if (!l->stopping && l->count < LISTENERS_MAX)
        response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, on_read, x, on_free);
    if (response == NULL) {
        free(x);
        return err_code(info, ERR_UNAVAILABLE, "too_many_streams", "there are %d open streams already", LISTENERS_MAX);
    }
    x->next = l->first;
    if (l->first != NULL)
        l->first->prev = x;
    l->first = x;
    l->count++;
    (void)pthread_cond_signal(&l->wake);
    *ret_response = response;
    return ERR_OK;
}

static bool is_awaited(const struct listeners *l)
{
    for (const struct listener *x = l->first; x != NULL; x = x->next)
        if (x->wants_resync)
            return true;
    return false;
}

bool listeners_wait(struct listeners *l, int64_t period_ms)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += period_ms / 1000;
    until.tv_nsec += period_ms % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    cleanup_unlock pthread_mutex_t *held = &l->lock;
    (void)pthread_mutex_lock(held);
    bool late = false;
    while (!l->stopping && (l->count == 0 || (!late && !is_awaited(l)))) {
        if (l->count == 0)
            (void)pthread_cond_wait(&l->wake, &l->lock);
        else
            late = pthread_cond_timedwait(&l->wake, &l->lock, &until) == ETIMEDOUT;
    }
    return !l->stopping;
}

size_t listeners_count(struct listeners *l)
{
    cleanup_unlock pthread_mutex_t *held = &l->lock;
    (void)pthread_mutex_lock(held);
    return l->count;
}

void listeners_stop(struct listeners *l)
{
    cleanup_unlock pthread_mutex_t *held = &l->lock;
    (void)pthread_mutex_lock(held);
    l->stopping = true;
    (void)pthread_cond_broadcast(&l->wake);
    for (struct listener *x = l->first; x != NULL; x = x->next)
        listener_end(x);
}

void listeners_tell(struct listeners *l, const char *frame, bool all_resync)
{
    int64_t now = clock_mono_ms();
    cleanup_unlock pthread_mutex_t *held = &l->lock;
    (void)pthread_mutex_lock(held);
    for (struct listener *x = l->first; x != NULL; x = x->next) {
        if (x->wants_resync || all_resync)
            listener_say(x, RESYNC, now);
        else if (frame != NULL)
            listener_say(x, frame, now);
        else if (now - x->told_ms >= HEARTBEAT_MS)
            listener_say(x, HEARTBEAT, now);
        x->wants_resync = false;
    }
}

bool listeners_next_check(struct listeners *l, struct credential *ret_credential)
{
    int64_t now = clock_mono_ms();
    cleanup_unlock pthread_mutex_t *held = &l->lock;
    (void)pthread_mutex_lock(held);
    for (struct listener *x = l->first; x != NULL; x = x->next)
        if (!x->ending && now - x->checked_ms >= CHECK_MS) {
            x->checked_ms = now;
            *ret_credential = x->credential;
            return true;
        }
    return false;
}

void listeners_cut(struct listeners *l, const struct credential *credential)
{
    cleanup_unlock pthread_mutex_t *held = &l->lock;
    (void)pthread_mutex_lock(held);
    for (struct listener *x = l->first; x != NULL; x = x->next)
        if (memcmp(x->credential.hash, credential->hash, sizeof credential->hash) == 0)
            listener_end(x);
}
