#include "server/http/limiter.h"

#include "common/base/cleanup.h"
#include "common/base/crypt.h"
#include "common/base/text.h"

#include <math.h>
#include <string.h>

/* Keys live in sets of WAYS; within a set the quietest gives way. That bounds both memory and the time of a look-up. */
enum { WAYS = 8, KEY_SIZE = 64 };

struct bucket {
    bool used;
    char key[KEY_SIZE];
    double tokens;
    int64_t at_ms; /* when tokens was right */
};

struct limiter {
    pthread_mutex_t lock;
    int64_t per_minute;
    uint64_t seed; /* so that nobody can choose addresses that fall into one set */
    size_t sets;
    struct bucket buckets[];
};

enum err limiter_new(int64_t per_minute, size_t keys_max, struct limiter **ret_limiter)
{
    size_t sets = (keys_max + WAYS - 1) / WAYS;
    struct limiter *limiter = calloc(1, sizeof *limiter + sets * WAYS * sizeof limiter->buckets[0]);
    if (limiter == NULL)
        return ERR_NO_MEMORY;
    enum err e = random_bytes(&limiter->seed, sizeof limiter->seed);
    if (e != ERR_OK || pthread_mutex_init(&limiter->lock, NULL) != 0) {
        free(limiter);
        return e != ERR_OK ? e : ERR_NO_MEMORY;
    }
    limiter->per_minute = per_minute;
    limiter->sets = sets;
    *ret_limiter = limiter;
    return ERR_OK;
}

void limiter_free(struct limiter *limiter)
{
    if (limiter == NULL)
        return;
    (void)pthread_mutex_destroy(&limiter->lock);
    free(limiter);
}

/* FNV-1a from a random start. */
static struct bucket *set_of(struct limiter *limiter, const char *key)
{
    uint64_t h = limiter->seed;
    for (; *key != '\0'; key++)
        h = (h ^ (uint8_t)*key) * 0x100000001b3U;
    return &limiter->buckets[(h >> 16) % limiter->sets * WAYS];
}

/* The key's bucket, filled up to now; a new key takes a free one, or that of the quietest. */
static struct bucket *bucket_of(struct limiter *limiter, const char *key, int64_t now_ms)
{
    double full = (double)limiter->per_minute;
    struct bucket *set = set_of(limiter, key);
    struct bucket *place = set;
    for (struct bucket *b = set; b < set + WAYS; b++) {
        if (b->used && text_eq(b->key, key)) {
            b->tokens = fmin(full, b->tokens + (double)(now_ms - b->at_ms) * full / 60000);
            b->at_ms = now_ms;
            return b;
        }
        if (place->used && (!b->used || b->at_ms < place->at_ms))
            place = b;
    }
    *place = (struct bucket){.used = true, .tokens = full, .at_ms = now_ms};
    (void)text_copy(place->key, sizeof place->key, key);
    return place;
}

enum err limiter_take(struct limiter *limiter, const char *key, int64_t now_ms, struct err_info *info)
{
    char cut[KEY_SIZE];
    (void)text_copy(cut, sizeof cut, key);
    cleanup_unlock pthread_mutex_t *held = &limiter->lock;
    (void)pthread_mutex_lock(held);
    struct bucket *bucket = bucket_of(limiter, cut, now_ms);
    if (bucket->tokens >= 1) {
        bucket->tokens -= 1;
        return ERR_OK;
    }
    double wait_s = ceil((1 - bucket->tokens) * 60 / (double)limiter->per_minute);
    enum err e = err_code(info, ERR_RATE, "rate_limited", "too many attempts");
    err_next(info, "try again in %.0f s", wait_s);
    if (info != NULL)
        info->retry_after_s = (int)wait_s;
    if (info != NULL)
        info->retry_after_s = (int)wait_s;
    return e;
}
