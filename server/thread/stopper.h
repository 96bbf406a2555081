#pragma once
/* Lets threads rest and be woken for the end. Any thread. */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct stopper {
    pthread_mutex_t mutex_;
    pthread_cond_t changed_;
    bool stopping_;
};

void stopper_init(struct stopper *s);
void stopper_clear(struct stopper *s);

/* From now on stopper_stopping() is true, and nobody rests. */
void stopper_stop(struct stopper *s);
bool stopper_stopping(struct stopper *s);

/* Returns after ms milliseconds, or at once when it is to stop. */
void stopper_rest(struct stopper *s, int64_t ms);
