#include "server/artifact/checker.h"

#include "common/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>

enum { CHECKERS_MAX = 8 }; /* a thread each, most of the time asleep */

struct checker {
    const struct trust *trust;
    pthread_t thread;
    bool running;
    int in, out; /* of the pipe: the thread's end, and the feeder's */
    int64_t fed;
    struct sha256 *hash;
    /* the thread's result, after it was joined */
    enum err result;
    struct err_info info;
    struct manifest *manifest;
    struct bundle_keys keys;
};

/* ---- one */

static void *checker_main(void *arg)
{
    struct checker *c = arg;
    c->result = bundle_verify(c->in, c->trust, &c->manifest, &c->keys, &c->info);
    (void)close(c->in); /* whoever feeds what nobody reads gets EPIPE */
    return NULL;
}

static void out_close(struct checker *c)
{
    if (c->out >= 0)
        (void)close(c->out);
    c->out = -1;
}

static void checker_join(struct checker *c)
{
    if (c->running)
        (void)pthread_join(c->thread, NULL);
    c->running = false;
}

static enum err thread_start(struct checker *c, struct err_info *info)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return err_set(info, err_from_errno(errno), "no pipe to verify an upload: %s", strerror(errno));
    c->in = ends[0];
    c->out = ends[1];
    if (pthread_create(&c->thread, NULL, checker_main, c) == 0) {
        c->running = true;
        return ERR_OK;
    }
    (void)close(c->in);
    return err_set(info, ERR_NO_MEMORY, "no thread to verify an upload");
}

enum err checker_new(const struct trust *trust, struct checker **ret_checker, struct err_info *info)
{
    cleanup_checker struct checker *c = calloc(1, sizeof *c);
    if (c == NULL)
        return ERR_NO_MEMORY;
    c->trust = trust;
    c->in = c->out = -1;
    c->info.offset = -1;
    enum err e = sha256_new(&c->hash);
    if (e == ERR_OK)
        e = thread_start(c, info);
    if (e != ERR_OK)
        return e;
    *ret_checker = c;
    c = NULL;
    return ERR_OK;
}

void checker_free(struct checker *c)
{
    if (c == NULL)
        return;
    out_close(c);
    checker_join(c);
    (void)manifest_free(c->manifest);
    sha256_free(c->hash);
    free(c);
}

/* The thread has ended, by itself or at the end of the pipe. */
static enum err verdict(struct checker *c, struct err_info *info)
{
    out_close(c);
    checker_join(c);
    if (c->result != ERR_OK && info != NULL)
        *info = c->info;
    return c->result;
}

enum err checker_feed(struct checker *c, const void *bytes, size_t len, struct err_info *info)
{
    const char *p = bytes;
    enum err e = sha256_add(c->hash, bytes, len);
    for (size_t left = len; e == ERR_OK && left > 0;) {
        ssize_t n = write(c->out, p, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EPIPE) {
            e = verdict(c, info);
            return e == ERR_OK ? err_code(info, ERR_CORRUPT, "bundle_malformed", "there is data after its end") : e;
        }
        if (n < 0)
            return err_set(info, err_from_errno(errno), "an upload cannot be verified: %s", strerror(errno));
        p += n;
        left -= (size_t)n;
    }
    if (e == ERR_OK)
        c->fed += (int64_t)len;
    return e;
}

int64_t checker_fed(const struct checker *c)
{
    return c->fed;
}

enum err checker_end(struct checker *c, char ret_sha256[SHA256_HEX], struct manifest **ret_manifest,
                     struct bundle_keys *ret_keys, struct err_info *info)
{
    enum err e = verdict(c, info);
    if (e == ERR_OK)
        e = sha256_end(c->hash, ret_sha256);
    if (e != ERR_OK)
        return e;
    *ret_keys = c->keys;
    *ret_manifest = c->manifest;
    c->manifest = NULL;
    return ERR_OK;
}

/* ---- the waiting ones */

struct checkers {
    pthread_mutex_t lock;
    uint64_t turns; /* counts, so that the oldest is known */
    struct {
        int64_t upload;
        uint64_t turn;
        struct checker *checker; /* NULL: a free place */
    } places[CHECKERS_MAX];
};

enum err checkers_new(struct checkers **ret_checkers)
{
    struct checkers *all = calloc(1, sizeof *all);
    if (all == NULL)
        return ERR_NO_MEMORY;
    (void)pthread_mutex_init(&all->lock, NULL);
    *ret_checkers = all;
    return ERR_OK;
}

void checkers_free(struct checkers *all)
{
    if (all == NULL)
        return;
    for (size_t i = 0; i < CHECKERS_MAX; i++)
        checker_free(all->places[i].checker);
    (void)pthread_mutex_destroy(&all->lock);
    free(all);
}

struct checker *checkers_take(struct checkers *all, int64_t upload)
{
    cleanup_unlock pthread_mutex_t *held = &all->lock;
    (void)pthread_mutex_lock(held);
    for (size_t i = 0; i < CHECKERS_MAX; i++)
        if (all->places[i].checker != NULL && all->places[i].upload == upload) {
            struct checker *c = all->places[i].checker;
            all->places[i].checker = NULL;
            return c;
        }
    return NULL;
}

/* A free place, else the one of who waits longest. */
static size_t place_choose(const struct checkers *all)
{
    size_t best = 0;
    for (size_t i = 0; i < CHECKERS_MAX; i++) {
        if (all->places[i].checker == NULL)
            return i;
        if (all->places[i].turn < all->places[best].turn)
            best = i;
    }
    return best;
}

void checkers_put(struct checkers *all, int64_t upload, struct checker *c)
{
    (void)pthread_mutex_lock(&all->lock);
    size_t place = place_choose(all);
    struct checker *gone = all->places[place].checker;
    all->places[place].upload = upload;
    all->places[place].turn = ++all->turns;
    all->places[place].checker = c;
    (void)pthread_mutex_unlock(&all->lock);
    checker_free(gone); /* joins a thread: not under the lock */
}
