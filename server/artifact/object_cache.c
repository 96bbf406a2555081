#include "server/artifact/object_cache.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/crypt.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/text.h"

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

/* An object that is there; also what its users hold. */
struct object_use {
    struct object_cache *cache;
    char sha256[SHA256_HEX];
    int64_t size;
    int64_t used; /* larger: later */
    unsigned users;
    bool forgotten; /* not in the list any more: its last user frees it */
    struct object_use *next;
};

struct object_cache {
    int dir;
    int64_t max; /* bytes */
    pthread_mutex_t lock;
    pthread_cond_t done; /* one of filling has ended */
    /* under lock */
    struct filling *filling;
    struct object_use *objects;
    int64_t bytes; /* of the objects, and of those on their way */
    int64_t clock; /* of `used` */
};

static void path_of(const char *sha256, char out[PATH_SIZE])
{
    (void)snprintf(out, PATH_SIZE, "%.2s/%s", sha256, sha256);
}

/* ---- what is there: all under the lock */

static struct object_use *object_get(const struct object_cache *cache, const char *sha256)
{
    struct object_use *o = cache->objects;
    while (o != NULL && !text_eq(o->sha256, sha256))
        o = o->next;
    return o;
}

static enum err object_put(struct object_cache *cache, const char *sha256, int64_t size, int64_t used)
{
    struct object_use *o = calloc(1, sizeof *o);
    if (o == NULL)
        return ERR_NO_MEMORY;
    o->cache = cache;
    (void)text_copy(o->sha256, sizeof o->sha256, sha256);
    o->size = size;
    o->used = used;
    o->next = cache->objects;
    cache->objects = o;
    return ERR_OK;
}

/* Takes it out of the list; its file is not there any more. */
static void object_forget(struct object_cache *cache, struct object_use *gone)
{
    struct object_use **p = &cache->objects;
    while (*p != gone)
        p = &(*p)->next;
    *p = gone->next;
    cache->bytes -= gone->size;
    gone->forgotten = true;
    if (gone->users == 0)
        free(gone);
}

/* Removes the file that was not used for longest. False: there is none that nobody uses. */
static bool oldest_remove(struct object_cache *cache)
{
    struct object_use *oldest = NULL;
    for (struct object_use *o = cache->objects; o != NULL; o = o->next)
        if (o->users == 0 && (oldest == NULL || o->used < oldest->used))
            oldest = o;
    if (oldest == NULL)
        return false;
    char path[PATH_SIZE];
    path_of(oldest->sha256, path);
    if (unlinkat(cache->dir, path, 0) != 0 && errno != ENOENT)
        log_warn("object_not_removed", "sha256=%s errno=%d", oldest->sha256, errno);
    log_info("object_evicted", "sha256=%s size=%" PRId64, oldest->sha256, oldest->size);
    object_forget(cache, oldest);
    return true;
}

/* Makes room for size bytes within max. */
static bool room_make(struct object_cache *cache, int64_t size, int64_t max)
{
    while (cache->bytes + size > max)
        if (size > max || !oldest_remove(cache))
            return false;
    return true;
}

/* ---- start and end */

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

/* The objects in one folder, "ab". Their times say which was used last. */
static enum err folder_scan(struct object_cache *cache, const char *name)
{
    int fd = openat(cache->dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    cleanup_dir DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (folder == NULL && fd >= 0)
        (void)close(fd);
    enum err e = ERR_OK;
    for (const struct dirent *x = folder == NULL ? NULL : readdir(folder); e == ERR_OK && x != NULL;
         x = readdir(folder)) {
        struct stat st;
        if (!text_is_sha256(x->d_name) || strncmp(x->d_name, name, 2) != 0 ||
            fstatat(fd, x->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
            continue;
        int64_t used = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
        e = object_put(cache, x->d_name, st.st_size, used);
        cache->bytes += e == ERR_OK ? st.st_size : 0;
    }
    return e;
}

static enum err cache_scan(struct object_cache *cache)
{
    int fd = openat(cache->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cleanup_dir DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (folder == NULL) {
        if (fd >= 0)
            (void)close(fd);
        return ERR_IO;
    }
    enum err e = ERR_OK;
    for (const struct dirent *x = readdir(folder); e == ERR_OK && x != NULL; x = readdir(folder))
        if (strlen(x->d_name) == 2 && strspn(x->d_name, "0123456789abcdef") == 2)
            e = folder_scan(cache, x->d_name);
    (void)room_make(cache, 0, cache->max);
    return e;
}

enum err object_cache_new(const char *dir, int64_t max, struct object_cache **ret_cache, struct err_info *info)
{
    int fd = -1;
    enum err e = dir_prepare(dir, &fd, info);
    if (e != ERR_OK)
        return e;
    struct object_cache *cache = calloc(1, sizeof *cache);
    if (cache == NULL) {
        (void)close(fd);
        return ERR_NO_MEMORY;
    }
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&cache->lock, NULL);
    (void)pthread_cond_init(&cache->done, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    cache->dir = fd;
    cache->max = max;
    e = cache_scan(cache);
    if (e != ERR_OK) {
        object_cache_free(cache);
        return err_field(info, e, "cache_dir", "the object cache %s cannot be read", dir);
    }
    *ret_cache = cache;
    return ERR_OK;
}

void object_cache_free(struct object_cache *cache)
{
    if (cache == NULL)
        return;
    while (cache->objects != NULL)
        object_forget(cache, cache->objects);
    (void)close(cache->dir);
    (void)pthread_cond_destroy(&cache->done);
    (void)pthread_mutex_destroy(&cache->lock);
    free(cache);
}

/* ---- uses */

/* Opens what is there with the right size. -1: it is not. */
static int cached_open(struct object_cache *cache, const char *sha256, int64_t size, struct object_use **ret_use)
{
    char path[PATH_SIZE];
    struct stat st;
    path_of(sha256, path);
    cleanup_unlock pthread_mutex_t *held = &cache->lock;
    (void)pthread_mutex_lock(held);
    struct object_use *o = object_get(cache, sha256);
    if (o == NULL)
        return -1;
    int fd = openat(cache->dir, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size != size) {
        if (fd >= 0)
            (void)close(fd);
        object_forget(cache, o); /* somebody has been at the folder */
        return -1;
    }
    int64_t now = clock_wall_ms();
    cache->clock = now > cache->clock ? now : cache->clock + 1;
    o->used = cache->clock;
    o->users++;
    (void)futimens(fd, NULL); /* so that the next life knows it, too */
    *ret_use = o;
    return fd;
}

void object_use_end(struct object_use *use)
{
    if (use == NULL)
        return;
    struct object_cache *cache = use->cache;
    cleanup_unlock pthread_mutex_t *held = &cache->lock;
    (void)pthread_mutex_lock(held);
    use->users--;
    if (use->forgotten && use->users == 0)
        free(use);
}

void object_cache_sum(struct object_cache *cache, int64_t *ret_bytes, size_t *ret_files)
{
    cleanup_unlock pthread_mutex_t *held = &cache->lock;
    (void)pthread_mutex_lock(held);
    size_t files = 0;
    for (const struct object_use *o = cache->objects; o != NULL; o = o->next)
        files++;
    *ret_bytes = cache->bytes;
    *ret_files = files;
}

/* ---- filling */

/* All chunks from the database into fd, hashed on the way. */
static enum err chunks_copy(struct db *db, const struct object_row *object, int fd, char ret_hex[SHA256_HEX],
                            struct err_info *info)
{
    cleanup_sha256 struct sha256 *hash = NULL;
    enum err e = sha256_new(&hash);
    int64_t at = 0;
    for (int64_t n = 0; e == ERR_OK && at < object->size; n++) {
        cleanup_free void *chunk = NULL;
        size_t len = 0;
        e = blob_chunk_read(db, object->blob, n, &chunk, &len, info);
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
static enum err part_fill(const struct object_cache *cache, struct db *db, const char *sha256,
                          const struct object_row *object, int fd, const char *part, struct err_info *info)
{
    char found[SHA256_HEX];
    enum err e = chunks_copy(db, object, fd, found, info);
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

static enum err object_fill(const struct object_cache *cache, struct db *db, const char *sha256,
                            const struct object_row *object, struct err_info *info)
{
    char part[PATH_SIZE];
    (void)snprintf(part, sizeof part, PARTS_DIR "/%s", sha256);
    cleanup_fd int fd = openat(cache->dir, part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_set(info, err_from_errno(errno), "the object cache cannot be written");
    int64_t begun_ms = clock_mono_ms();
    enum err e = part_fill(cache, db, sha256, object, fd, part, info);
    if (e != ERR_OK)
        (void)unlinkat(cache->dir, part, 0);
    else
        log_info("object_cached", "sha256=%s size=%" PRId64 " ms=%" PRId64, sha256, object->size,
                 clock_mono_ms() - begun_ms);
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

/* Sets bytes aside for the object, which object_settle() makes its own or gives back. */
static bool room_take(struct object_cache *cache, int64_t size)
{
    cleanup_unlock pthread_mutex_t *held = &cache->lock;
    (void)pthread_mutex_lock(held);
    if (!room_make(cache, size, cache->max))
        return false;
    cache->bytes += size;
    return true;
}

static enum err object_settle(struct object_cache *cache, const char *sha256, int64_t size, enum err e)
{
    cleanup_unlock pthread_mutex_t *held = &cache->lock;
    (void)pthread_mutex_lock(held);
    if (e == ERR_OK)
        e = object_put(cache, sha256, size, cache->clock);
    if (e != ERR_OK)
        cache->bytes -= size;
    return e;
}

/* The disk is full, whoever filled it: gives back as much of ours as the object needs. */
static bool disk_relieve(struct object_cache *cache, int64_t size)
{
    cleanup_unlock pthread_mutex_t *held = &cache->lock;
    (void)pthread_mutex_lock(held);
    int64_t goal = cache->bytes - size;
    while (cache->bytes > goal)
        if (!oldest_remove(cache))
            return false;
    return true;
}

/* With the right to fill: somebody may have filled it while we waited for that. */
static enum err filled_open(struct object_cache *cache, struct db *db, const char *sha256,
                            const struct object_row *object, int *ret_fd, struct object_use **ret_use,
                            struct err_info *info)
{
    int fd = cached_open(cache, sha256, object->size, ret_use);
    if (fd < 0) {
        if (!room_take(cache, object->size))
            return err_set(info, ERR_NO_SPACE, "the object cache has no room for %" PRId64 " bytes (cache_mb)",
                           object->size);
        enum err e = object_fill(cache, db, sha256, object, info);
        if (e == ERR_NO_SPACE && disk_relieve(cache, object->size))
            e = object_fill(cache, db, sha256, object, info);
        e = object_settle(cache, sha256, object->size, e);
        if (e != ERR_OK)
            return e;
        fd = cached_open(cache, sha256, object->size, ret_use);
    }
    if (fd < 0)
        return err_set(info, ERR_IO, "the cached object cannot be opened");
    *ret_fd = fd;
    return ERR_OK;
}

enum err object_cache_open(struct object_cache *cache, struct db *db, const char *sha256,
                           const struct object_row *object, int *ret_fd, struct object_use **ret_use,
                           struct err_info *info)
{
    int fd = cached_open(cache, sha256, object->size, ret_use);
    if (fd >= 0) {
        *ret_fd = fd;
        return ERR_OK;
    }
    struct filling mine = {.sha256 = sha256};
    enum err e = filling_begin(cache, &mine, info);
    if (e != ERR_OK)
        return e;
    e = filled_open(cache, db, sha256, object, ret_fd, ret_use, info);
    filling_end(cache, &mine);
    return e;
}
