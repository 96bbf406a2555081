#include "common/base/file.h"

#include "common/base/cleanup.h"
#include "common/base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum err file_read_at(int dir, const char *path, size_t max, char **ret_text, size_t *ret_len)
{
    cleanup_fd int fd = openat(dir, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_from_errno(errno);
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_from_errno(errno);
    /* Files under /sys and /proc say size 4096 or 0: start small and grow. */
    size_t room = st.st_size > 0 && (size_t)st.st_size <= max ? (size_t)st.st_size + 1 : 4096;
    cleanup_free char *text = malloc(room + 1);
    size_t len = 0;
    while (text != NULL) {
        ssize_t n = read(fd, text + len, room - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_from_errno(errno);
        if (n == 0)
            break;
        len += (size_t)n;
        if (len > max)
            return ERR_TOO_LARGE;
        if (len == room) {
            room *= 2;
            char *more = realloc(text, room + 1);
            if (more == NULL)
                return ERR_NO_MEMORY;
            text = more;
        }
    }
    if (text == NULL)
        return ERR_NO_MEMORY;
    text[len] = '\0';
    *ret_text = text;
    text = NULL;
    if (ret_len != NULL)
        *ret_len = len;
    return ERR_OK;
}

enum err file_read(const char *path, size_t max, char **ret_text, size_t *ret_len)
{
    return file_read_at(AT_FDCWD, path, max, ret_text, ret_len);
}

enum err file_pread(int fd, void *bytes, size_t len, int64_t offset)
{
    char *p = bytes;
    while (len > 0) {
        ssize_t n = pread(fd, p, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0 ? ERR_CORRUPT : err_from_errno(errno);
        p += n;
        offset += n;
        len -= (size_t)n;
    }
    return ERR_OK;
}

enum err file_write_fd(int fd, const void *bytes, size_t len)
{
    const char *p = bytes;
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_from_errno(errno);
        p += n;
        len -= (size_t)n;
    }
    return ERR_OK;
}

enum err file_sync_dir(const char *path)
{
    cleanup_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        return err_from_errno(errno);
    return ERR_OK;
}

static enum err file_sync_parent(const char *path)
{
    char copy[PATH_MAX];
    if (!text_copy(copy, sizeof copy, path))
        return ERR_INVALID;
    return file_sync_dir(dirname(copy));
}

enum err file_write(const char *path, const void *bytes, size_t len, mode_t mode)
{
    char temporary[PATH_MAX];
    int n = snprintf(temporary, sizeof temporary, "%s.tmp", path);
    if (n < 0 || (size_t)n >= sizeof temporary)
        return ERR_INVALID;
    cleanup_fd int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return err_from_errno(errno);
    enum err e = fchmod(fd, mode) == 0 ? ERR_OK : err_from_errno(errno);
    if (e == ERR_OK)
        e = file_write_fd(fd, bytes, len);
    if (e == ERR_OK && fsync(fd) != 0)
        e = err_from_errno(errno);
    if (e == ERR_OK && rename(temporary, path) != 0)
        e = err_from_errno(errno);
    if (e != ERR_OK) {
        (void)unlink(temporary);
        return e;
    }
    return file_sync_parent(path);
}

enum err file_make_dirs(const char *path, mode_t mode)
{
    struct stat st;
    char copy[PATH_MAX];
    if (!text_copy(copy, sizeof copy, path) || copy[0] == '\0')
        return ERR_INVALID;
    for (char *slash = strchr(copy + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash != NULL)
            *slash = '\0';
        int error = mkdir(copy, mode) != 0 ? errno : 0;
        if (error != 0 && error != EEXIST && (stat(copy, &st) != 0 || !S_ISDIR(st.st_mode)))
            return err_from_errno(error); /* a disk that is ill need not make what is there */
        if (slash == NULL)
            return ERR_OK;
        *slash = '/';
    }
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

enum err file_remove_tree(const char *path)
{
    if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT)
        return ERR_OK;
    return err_from_errno(errno);
}

enum err file_unnamed(const char *dir, int *ret_fd)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/.unnamed-XXXXXX", dir);
    if (n < 0 || (size_t)n >= sizeof path)
        return ERR_INVALID;
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return err_from_errno(errno);
    if (unlink(path) != 0) {
        (void)close(fd);
        return ERR_IO;
    }
    *ret_fd = fd;
    return ERR_OK;
}
