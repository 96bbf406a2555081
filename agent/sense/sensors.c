#include "agent/sense/sensors.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { STACK_BYTES = 128 * 1024, STALE_PERIODS = 3, STALE_LEAST_MS = 3000, JOIN_S = 1 };

struct sensors {
    pthread_t thread;
    int64_t period_ms;
    struct sysfs sysfs;           /* the thread's */
    struct thermal_memory memory; /* the thread's */
    pthread_mutex_t mutex;        /* guards what follows */
    pthread_cond_t wake;
    bool stop;
    struct thermal thermal;
    int64_t sampled_ms; /* monotonic; 0: never */
    int samples, throttled_samples;
    char reason[THERMAL_REASON_SIZE];
    bool stale; /* it was logged */
};

static void sample_publish(struct sensors *s, const struct thermal *thermal)
{
    s->thermal = *thermal;
    s->sampled_ms = clock_mono_ms();
    s->stale = false;
    s->samples++;
    if (thermal->throttled) {
        s->throttled_samples++;
        (void)text_copy(s->reason, sizeof s->reason, thermal->reason);
    }
}

/* Waits for the next sample or the end; the mutex is held. */
static void period_wait(struct sensors *s)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(s->period_ms / 1000);
    until.tv_nsec += (long)(s->period_ms % 1000) * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    int rc = 0;
    while (!s->stop && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&s->wake, &s->mutex, &until);
}

static void *sensors_run(void *arg)
{
    struct sensors *s = arg;
    struct thermal thermal;
    for (;;) {
        thermal_sample(&s->sysfs, &s->memory, &thermal);
        cleanup_unlock pthread_mutex_t *held = &s->mutex;
        (void)pthread_mutex_lock(held);
        sample_publish(s, &thermal);
        period_wait(s);
        if (s->stop)
            return NULL;
    }
}

/* The mutex is held. */
static bool sample_stale(struct sensors *s)
{
    int64_t limit = s->period_ms * STALE_PERIODS;
    limit = limit < STALE_LEAST_MS ? STALE_LEAST_MS : limit;
    bool stale = s->sampled_ms != 0 && clock_mono_ms() - s->sampled_ms > limit;
    if (stale && !s->stale)
        log_warn("sensors_hang", "ms=%lld action=\"readings are unknown until the driver answers\"",
                 (long long)(clock_mono_ms() - s->sampled_ms));
    s->stale = stale;
    return stale;
}

void sensors_take(struct sensors *sensors, struct sensors_reading *ret_reading)
{
    cleanup_unlock pthread_mutex_t *held = &sensors->mutex;
    (void)pthread_mutex_lock(held);
    ret_reading->thermal = sensors->thermal;
    if (sample_stale(sensors)) {
        ret_reading->thermal.throttled = false;
        for (size_t i = 0; i < ret_reading->thermal.temp_count; i++)
            ret_reading->thermal.temps[i].read = false;
    }
    ret_reading->fraction = sensors->samples == 0 ? 0.0 : (double)sensors->throttled_samples / (double)sensors->samples;
    (void)text_copy(ret_reading->reason, sizeof ret_reading->reason, sensors->reason);
    sensors->samples = 0;
    sensors->throttled_samples = 0;
    sensors->reason[0] = '\0';
}

void sensors_peek(struct sensors *sensors, bool *ret_has_margin, double *ret_margin_c, bool *ret_throttled)
{
    cleanup_unlock pthread_mutex_t *held = &sensors->mutex;
    (void)pthread_mutex_lock(held);
    bool stale = sample_stale(sensors);
    *ret_has_margin = !stale && thermal_margin(&sensors->thermal, ret_margin_c);
    *ret_throttled = !stale && sensors->thermal.throttled;
}

static enum err thread_start(struct sensors *s)
{
    pthread_condattr_t clock;
    pthread_attr_t attributes;
    if (pthread_condattr_init(&clock) != 0 || pthread_attr_init(&attributes) != 0)
        return ERR_NO_MEMORY;
    (void)pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&s->wake, &clock);
    (void)pthread_mutex_init(&s->mutex, NULL);
    (void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
    int rc = pthread_create(&s->thread, &attributes, sensors_run, s);
    (void)pthread_attr_destroy(&attributes);
    (void)pthread_condattr_destroy(&clock);
    return rc == 0 ? ERR_OK : ERR_NO_MEMORY;
}

enum err sensors_start(const char *root, int64_t period_ms, struct sensors **ret_sensors, struct err_info *info)
{
    struct sensors *s = calloc(1, sizeof *s);
    if (s == NULL)
        return ERR_NO_MEMORY;
    s->period_ms = period_ms;
    s->sysfs.root = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->sysfs.root < 0) {
        enum err e = err_field(info, err_from_errno(errno), "sysfs_root", "sysfs_root %s: %s", root, strerror(errno));
        free(s);
        return e;
    }
    enum err e = thread_start(s);
    if (e != ERR_OK) {
        (void)close(s->sysfs.root);
        free(s);
        return err_set(info, e, "cannot start the sensor thread");
    }
    *ret_sensors = s;
    return ERR_OK;
}

void sensors_stop(struct sensors *sensors)
{
    if (sensors == NULL)
        return;
    (void)pthread_mutex_lock(&sensors->mutex);
    sensors->stop = true;
    (void)pthread_cond_signal(&sensors->wake);
    (void)pthread_mutex_unlock(&sensors->mutex);
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until); /* the monotonic form is unknown to ThreadSanitizer */
    until.tv_sec += JOIN_S;
    if (pthread_timedjoin_np(sensors->thread, NULL, &until) != 0)
        return; /* it still uses its memory */
    (void)close(sensors->sysfs.root);
    (void)pthread_cond_destroy(&sensors->wake);
    (void)pthread_mutex_destroy(&sensors->mutex);
    free(sensors);
}
