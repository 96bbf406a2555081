#include "server/thread/stopper.h"

#include <errno.h>
#include <time.h>

void stopper_init(struct stopper *s)
{
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&s->changed_, &attr);
    (void)pthread_condattr_destroy(&attr);
    (void)pthread_mutex_init(&s->mutex_, NULL);
    s->stopping_ = false;
}

void stopper_clear(struct stopper *s)
{
    (void)pthread_cond_destroy(&s->changed_);
    (void)pthread_mutex_destroy(&s->mutex_);
}

void stopper_stop(struct stopper *s)
{
    (void)pthread_mutex_lock(&s->mutex_);
    s->stopping_ = true;
    (void)pthread_cond_broadcast(&s->changed_);
    (void)pthread_mutex_unlock(&s->mutex_);
}

bool stopper_stopping(struct stopper *s)
{
    (void)pthread_mutex_lock(&s->mutex_);
    bool stopping = s->stopping_;
    (void)pthread_mutex_unlock(&s->mutex_);
    return stopping;
}

void stopper_rest(struct stopper *s, int64_t ms)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(ms / 1000);
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    (void)pthread_mutex_lock(&s->mutex_);
    int rc = 0;
    while (!s->stopping_ && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&s->changed_, &s->mutex_, &until);
    (void)pthread_mutex_unlock(&s->mutex_);
}
