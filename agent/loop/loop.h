#pragma once
/* The agent's one poll() loop: file descriptors and timers with callbacks. Watches and timers are parts of their
 * owners' structs, so nothing here allocates. Only the loop's own thread may call; callbacks may set and clear any
 * watch or timer, and free the struct that holds it once it is cleared. */

#include "common/base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum { LOOP_WATCHES_MAX = 128 };

struct loop_watch {
    int fd;
    short events; /* POLLIN, POLLOUT */
    void (*ready)(void *user, short revents);
    void *user;
    struct loop_watch *next_;
    bool on_;
};

struct loop_timer {
    int64_t due_ms; /* monotonic */
    void (*fire)(void *user);
    void *user;
    struct loop_timer *next_;
    bool on_;
};

struct loop {
    struct loop_watch *watches_;
    struct loop_timer *timers_;
    bool stop_;
};

/* Watches fd for events from now on; a watch that is on is changed. */
void loop_watch_set(struct loop *loop, struct loop_watch *watch, int fd, short events,
                    void (*ready)(void *user, short revents), void *user);
void loop_watch_clear(struct loop *loop, struct loop_watch *watch);

/* Fires once, delay_ms from now; a timer that is on is moved. */
void loop_timer_set(struct loop *loop, struct loop_timer *timer, int64_t delay_ms, void (*fire)(void *user),
                    void *user);
void loop_timer_clear(struct loop *loop, struct loop_timer *timer);
bool loop_timer_is_set(const struct loop_timer *timer);

/* Runs until loop_stop(). ERR_IO when poll() fails or there are more than LOOP_WATCHES_MAX watches. */
[[nodiscard]] enum err loop_run(struct loop *loop);
void loop_stop(struct loop *loop);
