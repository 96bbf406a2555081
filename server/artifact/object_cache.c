#include "server/artifact/object_cache.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/crypt.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "server/store/object.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { WAIT_S = 5, PATH_SIZE = 80 };

#define PARTS_DIR "parts" /* half-made files; never the name of a digest's folder */

/* An object that a caller is filling: on that caller's stack. */
struct filling {
    const char *sha256;
    struct filling *next;
};

struct object_cache {
    int dir;
    pthread_mutex_t lock;
    pthread_cond_t done;     /* one of filling has ended */
    struct filling *filling; /* under lock */
};

static enum err dir_prepare(const char *dir, int *ret_fd, struct err_info *info)
{
    char parts[4096];
    int n = snprintf(parts, sizeof parts, "%s/" PARTS_DIR, dir);
    enum err e = n > 0 && (size_t)n < sizeof parts ? file_remove_tree(parts) : ERR_INVALID;
    if (e == ERR_OK)
        e = file_make_dirs(parts, 0700);
    int fd = e == ERR_OK ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (e == ERR_OK && fd < 0)
        e = err_from_errno(errno);
    if (e != ERR_OK) {
        e = err_field(info, e, "cache_dir", "the object cache %s cannot be used: %s", dir, err_name(e));
        err_next(info, "make the folder writable for this user, or set cache_dir to another one");
        return e;
    }
    *ret_fd = fd;
    return ERR_OK;
}

enum err object_cache_new(const char *dir, struct object_cache **ret_cache, struct err_info *info)
{
    cleanup_fd int fd = -1;
    enum err e = dir_prepare(dir, &fd, info);
    if (e != ERR_OK)
        return e;
    struct object_cache *cache = calloc(1, sizeof *cache);
    if (cache == NULL)
        return ERR_NO_MEMORY;
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&cache->lock, NULL);
    (void)pthread_cond_init(&cache->done, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    cache->dir = fd;
    fd = -1;
    *ret_cache = cache;
    return ERR_OK;
}

void object_cache_free(struct object_cache *cache)
{
    if (cache == NULL)
        return;
    (void)close(cache->dir);
    (void)pthread_cond_destroy(&cache->done);
    (void)pthread_mutex_destroy(&cache->lock);
    free(cache);
}

static void path_of(const char *sha256, char out[PATH_SIZE])
{
    (void)snprintf(out, PATH_SIZE, "%.2s/%s", sha256, sha256);
}

/* The file if it is there with the right size, else -1. */
static int cached_open(const struct object_cache *cache, const char *sha256, int64_t size)
{
    char path[PATH_SIZE];
    path_of(sha256, path);
    int fd = openat(cache->dir, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;
    if (fd >= 0 && (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size != size)) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

/* All chunks from the database into fd, hashed on the way. */
static enum err chunks_copy(struct db *db, const char *sha256, int64_t size, int fd, char ret_hex[SHA256_HEX],
                            struct err_info *info)
{
    cleanup_sha256 struct sha256 *hash = NULL;
    enum err e = sha256_new(&hash);
    int64_t at = 0;
    for (int64_t n = 0; e == ERR_OK && at < size; n++) {
        cleanup_free void *chunk = NULL;
        size_t len = 0;
        e = object_chunk_read(db, sha256, n, &chunk, &len, info);
        if (e == ERR_NOT_FOUND)
            break; /* the digest will tell */
        if (e == ERR_OK)
            e = sha256_add(hash, chunk, len);
        if (e == ERR_OK)
            e = file_write_fd(fd, chunk, len);
        at += (int64_t)len;
    }
    return e == ERR_OK || e == ERR_NOT_FOUND ? sha256_end(hash, ret_hex) : e;
}

static enum err damaged(const char *sha256, const char *found, struct err_info *info)
{
    log_error("object_damaged", "sha256=%s found=%s", sha256, found);
    return err_code(info, ERR_UNAVAILABLE, "object_damaged", "the stored object is damaged and is not served");
}

/* Fills the part file, and gives it its name when its digest is right and its bytes are on the disk. */
static enum err part_fill(const struct object_cache *cache, struct db *db, const char *sha256, int64_t size, int fd,
                          const char *part, struct err_info *info)
{
    char found[SHA256_HEX];
    enum err e = chunks_copy(db, sha256, size, fd, found, info);
    if (e != ERR_OK)
        return e;
    if (!text_eq(found, sha256))
        return damaged(sha256, found, info);
    char path[PATH_SIZE];
    char folder[3] = {sha256[0], sha256[1], '\0'};
    path_of(sha256, path);
    if (mkdirat(cache->dir, folder, 0700) != 0 && errno != EEXIST)
        return err_from_errno(errno);
    if (fchmod(fd, 0400) != 0 || fsync(fd) != 0 || renameat(cache->dir, part, cache->dir, path) != 0)
        return err_from_errno(errno);
    /* A rename that a power cut undoes costs one more fill: the folder needs no fsync. */
    return ERR_OK;
}

static enum err object_fill(const struct object_cache *cache, struct db *db, const char *sha256, int64_t size,
                            struct err_info *info)
{
    char part[PATH_SIZE];
    (void)snprintf(part, sizeof part, PARTS_DIR "/%s", sha256);
    cleanup_fd int fd = openat(cache->dir, part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_set(info, err_from_errno(errno), "the object cache cannot be written");
    int64_t begun_ms = clock_mono_ms();
    enum err e = part_fill(cache, db, sha256, size, fd, part, info);
    if (e != ERR_OK)
        (void)unlinkat(cache->dir, part, 0);
    else
        log_info("object_cached", "sha256=%s size=%" PRId64 " ms=%" PRId64, sha256, size, clock_mono_ms() - begun_ms);
    return e;
}

static bool is_filling(const struct object_cache *cache, const char *sha256)
{
    for (const struct filling *f = cache->filling; f != NULL; f = f->next)
        if (text_eq(f->sha256, sha256))
            return true;
    return false;
}

/* Takes the right to fill, waiting until nobody else is at it. ERR_UNAVAILABLE when that takes too long. */
static enum err filling_begin(struct object_cache *cache, struct filling *mine, struct err_info *info)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += WAIT_S;
    cleanup_unlock pthread_mutex_t *held = &cache->lock;
    (void)pthread_mutex_lock(held);
    while (is_filling(cache, mine->sha256)) {
        if (pthread_cond_timedwait(&cache->done, &cache->lock, &until) == ETIMEDOUT) {
            enum err e =
                err_code(info, ERR_UNAVAILABLE, "object_loading", "the object is being fetched from the database");
            err_next(info, "try again in a few seconds");
            if (info != NULL)
                info->retry_after_s = WAIT_S;
            return e;
        }
    }
    mine->next = cache->filling;
    cache->filling = mine;
    return ERR_OK;
}

static void filling_end(struct object_cache *cache, const struct filling *mine)
{
    cleanup_unlock pthread_mutex_t *held = &cache->lock;
    (void)pthread_mutex_lock(held);
    struct filling **p = &cache->filling;
    while (*p != mine)
        p = &(*p)->next;
    *p = mine->next;
    (void)pthread_cond_broadcast(&cache->done);
}

/* With the right to fill: somebody may have filled it while we waited for that. */
static enum err filled_open(const struct object_cache *cache, struct db *db, const char *sha256, int64_t size,
                            int *ret_fd, struct err_info *info)
{
    int fd = cached_open(cache, sha256, size);
    if (fd < 0) {
        enum err e = object_fill(cache, db, sha256, size, info);
        if (e != ERR_OK)
            return e;
        fd = cached_open(cache, sha256, size);
    }
    if (fd < 0)
        return err_set(info, ERR_IO, "the cached object cannot be opened");
    *ret_fd = fd;
    return ERR_OK;
}

enum err object_cache_open(struct object_cache *cache, struct db *db, const char *sha256, int *ret_fd,
                           int64_t *ret_size, struct err_info *info)
{
    int64_t size = 0;
    enum err e = object_find(db, sha256, &size, info);
    if (e != ERR_OK)
        return e;
    int fd = cached_open(cache, sha256, size);
    if (fd < 0) {
        struct filling mine = {.sha256 = sha256};
        e = filling_begin(cache, &mine, info);
        if (e != ERR_OK)
            return e;
        e = filled_open(cache, db, sha256, size, &fd, info);
        filling_end(cache, &mine);
    }
    if (e != ERR_OK)
        return e;
    *ret_fd = fd;
    *ret_size = size;
    return ERR_OK;
}
