#include "agent/loop/loop.h"

#include "common/base/clock.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stddef.h>

void loop_watch_set(struct loop *loop, struct loop_watch *watch, int fd, short events,
                    void (*ready)(void *user, short revents), void *user)
{
    watch->fd = fd;
    watch->events = events;
    watch->ready = ready;
    watch->user = user;
    if (watch->on_)
        return;
    watch->on_ = true;
    watch->next_ = loop->watches_;
    loop->watches_ = watch;
}

void loop_watch_clear(struct loop *loop, struct loop_watch *watch)
{
    if (!watch->on_)
        return;
    struct loop_watch **at = &loop->watches_;
    while (*at != watch)
        at = &(*at)->next_;
    *at = watch->next_;
    watch->on_ = false;
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, int64_t delay_ms, void (*fire)(void *user), void *user)
{
    timer->due_ms = clock_mono_ms() + (delay_ms > 0 ? delay_ms : 0);
    timer->fire = fire;
    timer->user = user;
    if (timer->on_)
        return;
    timer->on_ = true;
    timer->next_ = loop->timers_;
    loop->timers_ = timer;
}

void loop_timer_clear(struct loop *loop, struct loop_timer *timer)
{
    if (!timer->on_)
        return;
    struct loop_timer **at = &loop->timers_;
    while (*at != timer)
        at = &(*at)->next_;
    *at = timer->next_;
    timer->on_ = false;
}

bool loop_timer_is_set(const struct loop_timer *timer)
{
    return timer->on_;
}

static struct loop_timer *timer_first(const struct loop *loop)
{
    struct loop_timer *first = loop->timers_;
    for (struct loop_timer *t = first; t != NULL; t = t->next_)
        if (t->due_ms < first->due_ms)
            first = t;
    return first;
}

/* Fires what is due now; a timer that is set again while this runs waits for the next round. */
static void timers_fire(struct loop *loop)
{
    int64_t now = clock_mono_ms();
    for (;;) {
        struct loop_timer *t = timer_first(loop);
        if (t == NULL || t->due_ms > now || loop->stop_)
            return;
        loop_timer_clear(loop, t);
        t->fire(t->user);
    }
}

static int wait_ms(const struct loop *loop)
{
    const struct loop_timer *t = timer_first(loop);
    if (t == NULL)
        return -1;
    int64_t wait = t->due_ms - clock_mono_ms();
    return wait <= 0 ? 0 : wait > INT_MAX ? INT_MAX : (int)wait;
}

/* An earlier callback may have cleared this watch, and its memory may be gone: only its address is compared. */
static bool watch_on(const struct loop *loop, const struct loop_watch *watch, int fd)
{
    for (const struct loop_watch *w = loop->watches_; w != NULL; w = w->next_)
        if (w == watch)
            return w->fd == fd;
    return false;
}

static enum err loop_once(struct loop *loop)
{
    struct pollfd fds[LOOP_WATCHES_MAX];
    struct loop_watch *watches[LOOP_WATCHES_MAX];
    nfds_t n = 0;
    for (struct loop_watch *w = loop->watches_; w != NULL; w = w->next_) {
        if (n == LOOP_WATCHES_MAX)
            return ERR_IO;
        fds[n] = (struct pollfd){.fd = w->fd, .events = w->events};
        watches[n++] = w;
    }
    if (poll(fds, n, wait_ms(loop)) < 0 && errno != EINTR)
        return ERR_IO;
    for (nfds_t i = 0; i < n && !loop->stop_; i++)
        if (fds[i].revents != 0 && watch_on(loop, watches[i], fds[i].fd))
            watches[i]->ready(watches[i]->user, fds[i].revents);
    timers_fire(loop);
    return ERR_OK;
}

enum err loop_run(struct loop *loop)
{
    enum err e = ERR_OK;
    while (e == ERR_OK && !loop->stop_)
        e = loop_once(loop);
    return e;
}

void loop_stop(struct loop *loop)
{
    loop->stop_ = true;
}
