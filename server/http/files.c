#include "server/http/files.h"

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "server/http/header.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <microhttpd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static const char INDEX[] = "index.html";

struct files {
    int dir; /* -1: there is no console */
};

enum err files_new(const char *web_dir, struct files **ret_files)
{
    struct files *f = calloc(1, sizeof *f);
    if (f == NULL)
        return ERR_NO_MEMORY;
    f->dir = open(web_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (f->dir < 0)
        log_warn("no_console", "web_dir=%s: build it with `make web`, or set web_dir", web_dir);
    *ret_files = f;
    return ERR_OK;
}

void files_free(struct files *f)
{
    if (f == NULL)
        return;
    if (f->dir >= 0)
        (void)close(f->dir);
    free(f);
}

static const char *type_of(const char *name)
{
    static const struct {
        const char *suffix, *type;
    } types[] = {
        {".html", "text/html; charset=utf-8"},
        {".js", "text/javascript; charset=utf-8"},
        {".css", "text/css; charset=utf-8"},
        {".svg", "image/svg+xml"},
        {".json", "application/json"},
        {".txt", "text/plain; charset=utf-8"},
        {".png", "image/png"},
        {".ico", "image/x-icon"},
        {".woff2", "font/woff2"},
        {".webmanifest", "application/manifest+json"},
    };
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot != NULL && i < sizeof types / sizeof types[0]; i++)
        if (strcmp(dot, types[i].suffix) == 0)
            return types[i].type;
    return "application/octet-stream";
}

/* A regular file below dir, by no link and no way out of it. -1: there is none. */
static int file_open(int dir, const char *name, struct stat *ret_stat)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    int fd = (int)syscall(SYS_openat2, dir, name, &how, sizeof how);
    if (fd >= 0 && (fstat(fd, ret_stat) != 0 || !S_ISREG(ret_stat->st_mode))) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

/* The segments as a name below web_dir; false when it cannot be one of the console's files. */
static bool name_of(const struct url_path *path, char *out, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < path->count; i++) {
        const char *segment = path->segments[i];
        int more = snprintf(out + n, size - n, "%s%s", i == 0 ? "" : "/", segment);
        if (segment[0] == '.' || more < 0 || (size_t)more >= size - n)
            return false;
        n += (size_t)more;
    }
    return n > 0;
}

/* Opens the best copy of a file for what the browser accepts. -1: there is none. */
static int copy_open(const struct files *f, const char *name, const char *accepts, struct stat *ret_stat,
                     const char **ret_encoding)
{
    static const struct {
        const char *encoding, *suffix;
    } copies[] = {{"br", ".br"}, {"gzip", ".gz"}};
    char copy[PATH_MAX];
    for (size_t i = 0; i < sizeof copies / sizeof copies[0]; i++) {
        if (!header_accepts(accepts, copies[i].encoding))
            continue;
        (void)snprintf(copy, sizeof copy, "%s%s", name, copies[i].suffix);
        int fd = file_open(f->dir, copy, ret_stat);
        *ret_encoding = copies[i].encoding;
        if (fd >= 0)
            return fd;
    }
    *ret_encoding = NULL;
    return file_open(f->dir, name, ret_stat);
}

/* Names with a hash in them never change; everything else is asked for again. */
static const char *cache_control(const char *name)
{
    return text_starts(name, "assets/") ? "public, max-age=31536000, immutable" : "no-cache";
}

static enum err copy_answer(int fd, const struct stat *st, const char *name, const char *encoding,
                            struct MHD_Connection *request, struct answer *ret_answer, struct err_info *info)
{
    char etag[64];
    (void)snprintf(etag, sizeof etag, "%" PRIx64 "-%" PRIx64 "-%s",
                   (uint64_t)st->st_mtim.tv_sec * 1000000000U + (uint64_t)st->st_mtim.tv_nsec, (uint64_t)st->st_size,
                   encoding == NULL ? "id" : encoding);
    cleanup_answer struct answer a = {};
    enum err e = answer_file(request, fd, st->st_size, type_of(name), etag, &a, info);
    if (e == ERR_OK)
        e = answer_header(&a, MHD_HTTP_HEADER_CACHE_CONTROL, cache_control(name));
    if (e == ERR_OK)
        e = answer_header(&a, MHD_HTTP_HEADER_VARY, "Accept-Encoding");
    if (e == ERR_OK && encoding != NULL)
        e = answer_header(&a, MHD_HTTP_HEADER_CONTENT_ENCODING, encoding);
    if (e != ERR_OK)
        return e;
    *ret_answer = a;
    a.response = NULL;
    return ERR_OK;
}

enum err files_answer(const struct files *f, const struct url_path *path, struct MHD_Connection *request,
                      struct answer *ret_answer, struct err_info *info)
{
    char name[PATH_MAX - 8];
    const char *encoding = NULL;
    const char *accepts = MHD_lookup_connection_value(request, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT_ENCODING);
    struct stat st;
    int fd = name_of(path, name, sizeof name) ? copy_open(f, name, accepts, &st, &encoding) : -1;
    const char *wants = MHD_lookup_connection_value(request, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT);
    if (fd < 0 && header_accepts(wants, "text/html")) {
        (void)text_copy(name, sizeof name, INDEX);
        fd = copy_open(f, INDEX, accepts, &st, &encoding);
        if (fd < 0) {
            enum err e = err_code(info, ERR_NOT_FOUND, "no_console", "this server has no console");
            err_next(info, "Everything is in the API too. The log of musterd says where it looked.");
            return e;
        }
    }
    if (fd < 0)
        return err_code(info, ERR_NOT_FOUND, "no_such_route", "there is nothing at this path");
    return copy_answer(fd, &st, name, encoding, request, ret_answer, info);
}
