/* bundle_extract: writes what the manifest lists below one directory, and takes it back when anything is wrong. */

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/bundle/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CHUNK = 64 * 1024 };

/* Something this extraction made, relative to the directory. */
struct made {
    char path[MANIFEST_PATH_MAX + 1];
    bool is_dir;
};

struct extraction {
    int dir;
    int fd;       /* of the file that is being written; -1: none */
    int delta_fd; /* of the delta that it will be rebuilt with, which has no name any more; -1: none */
    const struct bundle_olds *olds;
    const struct manifest *manifest;
    size_t made_count, made_room;
    struct made *made; /* in order of making */
};

/* ---- the directory: nothing outside it, no link on the way ---- */

static int beneath_open(int dir, const char *path, uint64_t flags, uint64_t mode)
{
    struct open_how how = {.flags = flags | O_CLOEXEC, .mode = mode, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    return (int)syscall(SYS_openat2, dir, path, &how, sizeof how);
}

/* The directory that path is in, and path's last part. */
static int parent_open(int dir, const char *path, const char **ret_name)
{
    const char *slash = strrchr(path, '/');
    char parent[MANIFEST_PATH_MAX + 1] = ".";
    if (slash != NULL) {
        memcpy(parent, path, (size_t)(slash - path));
        parent[slash - path] = '\0';
    }
    *ret_name = slash == NULL ? path : slash + 1;
    return beneath_open(dir, parent, O_RDONLY | O_DIRECTORY, 0);
}

static enum err failed(struct err_info *info, const char *path, int number)
{
    return err_set(info, err_from_errno(number), "%.200s: cannot write: %s", path, strerror(number));
}

/* ---- what was made ---- */

/* Before anything is made there must be room to remember it. */
static enum err made_reserve(struct extraction *x)
{
    if (x->made_count < x->made_room)
        return ERR_OK;
    size_t room = x->made_room == 0 ? 16 : 2 * x->made_room;
    struct made *more = reallocarray(x->made, room, sizeof *more);
    if (more == NULL)
        return ERR_NO_MEMORY;
    x->made = more;
    x->made_room = room;
    return ERR_OK;
}

static void made_add(struct extraction *x, const char *path, size_t len, bool is_dir)
{
    struct made *made = &x->made[x->made_count++];
    memcpy(made->path, path, len);
    made->path[len] = '\0';
    made->is_dir = is_dir;
}

static void made_remove_all(struct extraction *x)
{
    while (x->made_count > 0) {
        const struct made *made = &x->made[--x->made_count];
        const char *name = NULL;
        cleanup_fd int parent = parent_open(x->dir, made->path, &name);
        if (parent >= 0)
            (void)unlinkat(parent, name, made->is_dir ? AT_REMOVEDIR : 0);
    }
}

/* New names are durable once their directories are. */
static enum err dirs_sync(struct extraction *x, struct err_info *info)
{
    for (size_t i = 0; i <= x->made_count; i++) {
        if (i < x->made_count && !x->made[i].is_dir)
            continue;
        const char *path = i < x->made_count ? x->made[i].path : ".";
        cleanup_fd int fd = beneath_open(x->dir, path, O_RDONLY | O_DIRECTORY, 0);
        if (fd < 0 || fsync(fd) != 0)
            return failed(info, path, errno);
    }
    return ERR_OK;
}

/* ---- making ---- */

static enum err dir_make(struct extraction *x, const char *path, size_t len, struct err_info *info)
{
    char dir[MANIFEST_PATH_MAX + 1];
    const char *name = NULL;
    memcpy(dir, path, len);
    dir[len] = '\0';
    enum err e = made_reserve(x);
    if (e != ERR_OK)
        return e;
    cleanup_fd int parent = parent_open(x->dir, dir, &name);
    if (parent < 0)
        return failed(info, dir, errno);
    if (mkdirat(parent, name, 0755) == 0)
        made_add(x, dir, len, true);
    else if (errno != EEXIST)
        return failed(info, dir, errno);
    return ERR_OK;
}

static enum err parents_make(struct extraction *x, const char *path, struct err_info *info)
{
    enum err e = ERR_OK;
    for (const char *slash = strchr(path, '/'); e == ERR_OK && slash != NULL; slash = strchr(slash + 1, '/'))
        e = dir_make(x, path, (size_t)(slash - path), info);
    return e;
}

static enum err file_start(struct extraction *x, const char *path, struct err_info *info)
{
    enum err e = parents_make(x, path, info);
    if (e == ERR_OK)
        e = made_reserve(x);
    if (e != ERR_OK)
        return e;
    x->fd = beneath_open(x->dir, path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0200);
    if (x->fd < 0)
        return failed(info, path, errno);
    made_add(x, path, strlen(path), false);
    return ERR_OK;
}

/* Only now may it be read. */
static enum err file_finish(struct extraction *x, const char *path, mode_t mode, struct err_info *info)
{
    cleanup_fd int fd = x->fd;
    x->fd = -1;
    if (fchmod(fd, mode) != 0 || fsync(fd) != 0)
        return failed(info, path, errno);
    return ERR_OK;
}

static enum err file_put(struct extraction *x, const char *path, const void *bytes, size_t len, struct err_info *info)
{
    enum err e = file_start(x, path, info);
    if (e != ERR_OK)
        return e;
    e = file_write_fd(x->fd, bytes, len);
    if (e != ERR_OK)
        return err_set(info, e, "%s: cannot write: %s", path, err_words(e));
    return file_finish(x, path, 0444, info);
}

static enum err file_link(struct extraction *x, const char *from, const char *to, struct err_info *info)
{
    const char *from_name = NULL;
    const char *to_name = NULL;
    enum err e = parents_make(x, to, info);
    if (e == ERR_OK)
        e = made_reserve(x);
    if (e != ERR_OK)
        return e;
    cleanup_fd int from_dir = parent_open(x->dir, from, &from_name);
    cleanup_fd int to_dir = parent_open(x->dir, to, &to_name);
    if (from_dir < 0 || to_dir < 0 || linkat(from_dir, from_name, to_dir, to_name, 0) != 0)
        return failed(info, to, errno);
    made_add(x, to, strlen(to), false);
    return ERR_OK;
}

/* ---- the sink ---- */

static enum err extraction_head(void *user, const struct manifest *m, const struct bundle_signature *signatures,
                                size_t count, struct err_info *info)
{
    struct extraction *x = user;
    x->manifest = m;
    enum err e = file_put(x, MANIFEST_NAME, m->raw, m->raw_len, info);
    for (size_t i = 0; e == ERR_OK && i < count; i++)
        e = file_put(x, signatures[i].name, signatures[i].text, signatures[i].len, info);
    return e;
}

/* A file for a delta. No file of a bundle can have its name, and it loses it at once. */
static enum err delta_start(struct extraction *x, struct err_info *info)
{
    static const char name[] = "delta~";
    x->delta_fd = beneath_open(x->dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    if (x->delta_fd < 0 || unlinkat(x->dir, name, 0) != 0)
        return failed(info, name, errno);
    return ERR_OK;
}

static enum err extraction_begin(void *user, const struct bundle_item *item, struct err_info *info)
{
    struct extraction *x = user;
    enum err e = ERR_OK;
    if (item->form != BUNDLE_FULL && x->olds == NULL)
        return err_code(info, ERR_CONFLICT, "delta_wrong_base",
                        "this is a delta bundle, and no files of an older version are here");
    if (item->form == BUNDLE_DELTA)
        e = delta_start(x, info);
    return e == ERR_OK ? file_start(x, item->file->path, info) : e;
}

static enum err bytes_write(int fd, const void *bytes, size_t len, struct err_info *info)
{
    enum err e = file_write_fd(fd, bytes, len);
    return e == ERR_OK ? e : err_set(info, e, "cannot write a file of the bundle: %s", err_words(e));
}

static enum err extraction_raw(void *user, const void *bytes, size_t len, struct err_info *info)
{
    struct extraction *x = user;
    return x->delta_fd < 0 ? ERR_OK : bytes_write(x->delta_fd, bytes, len, info);
}

static enum err extraction_bytes(void *user, const void *bytes, size_t len, struct err_info *info)
{
    struct extraction *x = user;
    return bytes_write(x->fd, bytes, len, info);
}

/* ---- files that are made of old ones ---- */

static enum err old_open(const struct extraction *x, const char *sha256, int *ret_fd, struct err_info *info)
{
    enum err e = x->olds->open(x->olds->user, sha256, ret_fd, info);
    if (e == ERR_NOT_FOUND)
        e = err_code(info, ERR_CONFLICT, "delta_wrong_base", "the old file with the SHA-256 %.12s… is not here",
                     sha256);
    return e;
}

/* Copies the old file; more of it than the new one may have is not even read. */
static enum err same_copy(struct extraction *x, const struct manifest_file *file, struct err_info *info)
{
    cleanup_fd int old = -1;
    char chunk[CHUNK];
    enum err e = old_open(x, file->sha256, &old, info);
    for (int64_t left = file->size; e == ERR_OK && left > 0;) {
        ssize_t n = pread(old, chunk, left < CHUNK ? (size_t)left : CHUNK, (off_t)(file->size - left));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(info, err_from_errno(errno), "cannot read an old file: %s", strerror(errno));
        if (n == 0)
            break;
        left -= n;
        e = bytes_write(x->fd, chunk, (size_t)n, info);
    }
    return e;
}

static enum err delta_rebuild(struct extraction *x, const struct manifest_file *file, struct err_info *info)
{
    cleanup_fd int old = -1;
    cleanup_fd int delta = x->delta_fd;
    struct delta_info about = {0};
    const struct delta_expect expect = {.new_sha256 = file->sha256, .new_size = file->size};
    x->delta_fd = -1;
    enum err e = delta_inspect(delta, &about, info);
    if (e == ERR_OK)
        e = old_open(x, about.old_sha256, &old, info);
    return e == ERR_OK ? delta_apply(old, delta, x->fd, &expect, info) : e;
}

/* Whatever made the file: its bytes decide. */
static enum err made_check(struct extraction *x, const struct bundle_item *item, struct err_info *info)
{
    char sha256[SHA256_HEX];
    int64_t size = 0;
    if (lseek(x->fd, 0, SEEK_SET) != 0)
        return failed(info, item->file->path, errno);
    enum err e = sha256_fd(x->fd, sha256, &size);
    if (e != ERR_OK || (size == item->file->size && strcmp(sha256, item->file->sha256) == 0))
        return e;
    return item->form == BUNDLE_DELTA
               ? err_code(info, ERR_CORRUPT, "delta_invalid", "%.200s: the delta does not make the signed file",
                          item->file->path)
               : err_code(info, ERR_CONFLICT, "delta_wrong_base", "%.200s: the old file is damaged", item->file->path);
}

static enum err extraction_end(void *user, const struct bundle_item *item, struct err_info *info)
{
    struct extraction *x = user;
    const struct manifest *m = x->manifest;
    const struct manifest_file *first = item->file;
    enum err e = ERR_OK;
    if (item->form == BUNDLE_SAME)
        e = same_copy(x, first, info);
    else if (item->form == BUNDLE_DELTA)
        e = delta_rebuild(x, first, info);
    if (e == ERR_OK && item->form != BUNDLE_FULL)
        e = made_check(x, item, info);
    if (e == ERR_OK)
        e = file_finish(x, first->path, first->mode, info);
    for (const struct manifest_file *f = first + 1; e == ERR_OK && f < m->files + m->file_count; f++)
        if (strcmp(f->sha256, first->sha256) == 0)
            e = file_link(x, first->path, f->path, info);
    return e;
}

enum err bundle_unpack(int fd, const struct trust *trust, const struct bundle_olds *olds, int dir,
                       struct manifest **ret_manifest, struct bundle_keys *ret_keys, struct err_info *info)
{
    struct extraction x = {.dir = dir, .fd = -1, .delta_fd = -1, .olds = olds};
    struct bundle_sink sink = {.user = &x,
                               .deltas = true,
                               .head = extraction_head,
                               .begin = extraction_begin,
                               .raw = extraction_raw,
                               .bytes = extraction_bytes,
                               .end = extraction_end};
    cleanup_manifest struct manifest *m = NULL;
    struct bundle_keys keys;
    enum err e = bundle_read(fd, trust, &sink, &m, &keys, info);
    if (e == ERR_OK)
        e = dirs_sync(&x, info);
    if (x.fd >= 0)
        (void)close(x.fd);
    if (x.delta_fd >= 0)
        (void)close(x.delta_fd);
    if (e != ERR_OK)
        made_remove_all(&x);
    free(x.made);
    if (e != ERR_OK)
        return e;
    if (ret_keys != NULL)
        *ret_keys = keys;
    *ret_manifest = m;
    m = NULL;
    return ERR_OK;
}

enum err bundle_extract(int fd, const struct trust *trust, const struct bundle_olds *olds, int dir,
                        struct manifest **ret_manifest, struct bundle_keys *ret_keys, struct err_info *info)
{
    if (trust == NULL)
        return err_set(info, ERR_INTERNAL, "no keys to trust");
    return bundle_unpack(fd, trust, olds, dir, ret_manifest, ret_keys, info);
}
