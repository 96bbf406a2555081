#include "agent/infer/source.h"

#include "common/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

struct source {
    int fd;
    size_t sample_bytes;
    int64_t count;
};

enum err source_open(const char *path, size_t sample_len, struct source **ret_source, struct err_info *info)
{
    struct source *s = calloc(1, sizeof *s);
    if (s == NULL)
        return ERR_NO_MEMORY;
    s->sample_bytes = sample_len * sizeof(float);
    s->fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st = {0};
    enum err e = ERR_OK;
    if (s->fd < 0 || fstat(s->fd, &st) != 0)
        e = err_set(info, err_from_errno(errno), "source %.200s: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        e = err_set(info, ERR_INVALID, "source %.200s: a regular file is expected", path);
    else if (st.st_size == 0 || (size_t)st.st_size % s->sample_bytes != 0)
        e = err_set(info, ERR_INVALID,
                    "source %.200s has %" PRId64 " bytes, not a whole number of samples of %zu bytes", path,
                    (int64_t)st.st_size, s->sample_bytes);
    if (e != ERR_OK) {
        (void)source_free(s);
        return e;
    }
    s->count = (int64_t)((size_t)st.st_size / s->sample_bytes);
    *ret_source = s;
    return ERR_OK;
}

struct source *source_free(struct source *source)
{
    if (source != NULL && source->fd >= 0)
        (void)close(source->fd);
    free(source);
    return NULL;
}

int64_t source_count(const struct source *source)
{
    return source->count;
}

enum err source_read(const struct source *source, int64_t i, float *ret_sample)
{
    off_t offset = (off_t)((i % source->count) * (int64_t)source->sample_bytes);
    size_t done = 0;
    while (done < source->sample_bytes) {
        ssize_t n = pread(source->fd, (char *)ret_sample + done, source->sample_bytes - done, offset + (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return ERR_IO;
        done += (size_t)n;
    }
    return ERR_OK;
}
