/* Rebuilding, and reading what a delta says of itself. */
#include "common/delta/bin_decode.h"
#include "common/delta/format.h"

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/text.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 64 * 1024 };

/* A part of the delta. */
struct part {
    int fd;
    int64_t at, end;
};

/* Exactly len bytes of the delta. */
static enum err part_read_at(void *user, uint64_t at, void *bytes, size_t len)
{
    const struct part *part = user;
    return file_pread(part->fd, bytes, len, part->at + (int64_t)at);
}

/* The next ones. */
static enum err part_read(void *user, void *bytes, size_t len)
{
    struct part *part = user;
    if (len > (uint64_t)(part->end - part->at))
        return ERR_CORRUPT;
    enum err e = part_read_at(part, 0, bytes, len);
    part->at += (int64_t)len;
    return e;
}

static enum err failed(struct err_info *info, enum err e)
{
    switch (e) {
    case ERR_OK:
        return e;
    case ERR_CORRUPT:
        e = err_code(info, e, "delta_invalid", "this is no sound delta: what it tells to do cannot be done");
        err_next(info, "Fetch or make the delta again, or use the full file.");
        return e;
    case ERR_NO_SPACE:
        return err_set(info, e, "no space is left for the rebuilt file");
    case ERR_NO_MEMORY:
        return err_set(info, e, "not enough memory for the rebuild");
    case ERR_UNSUPPORTED:
        return e; /* whoever found it said why */
    default:
        return err_set(info, e, "reading or writing failed in the rebuild");
    }
}

/* SHA-256 of the first size bytes of a file. ERR_CONFLICT: it is shorter. */
static enum err file_digest(int fd, int64_t size, char ret_hex[SHA256_HEX])
{
    cleanup_sha256 struct sha256 *hash = NULL;
    cleanup_free uint8_t *chunk = malloc(CHUNK);
    enum err e = chunk == NULL ? ERR_NO_MEMORY : sha256_new(&hash);
    for (int64_t at = 0; e == ERR_OK && at < size;) {
        size_t len = size - at < CHUNK ? (size_t)(size - at) : CHUNK;
        ssize_t n = pread(fd, chunk, len, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0 ? ERR_CONFLICT : ERR_IO;
        e = sha256_add(hash, chunk, (size_t)n);
        at += n;
    }
    return e == ERR_OK ? sha256_end(hash, ret_hex) : e;
}

static enum err wrong_base(const struct format_head *head, struct err_info *info)
{
    char wanted[SHA256_HEX];
    text_hex(head->old_sha256, SHA256_SIZE, wanted);
    enum err e = err_code(info, ERR_CONFLICT, "delta_wrong_base",
                          "the delta was made from another old file: of %lld bytes with SHA-256 %s",
                          (long long)head->old_size, wanted);
    err_next(info, "Use the old file that the delta was made from, or the full new file.");
    return e;
}

static enum err old_size_check(int old_fd, const struct format_head *head, struct err_info *info)
{
    struct stat st;
    if (fstat(old_fd, &st) != 0)
        return err_set(info, ERR_IO, "cannot read the old file: %s", strerror(errno));
    return st.st_size == head->old_size ? ERR_OK : wrong_base(head, info);
}

/* The rebuild failed, which is what e and info say: unless the old file is the reason. Only now is all of it read: what
 * a rebuild makes is checked anyway. */
static enum err old_blame(int old_fd, const struct format_head *head, enum err e, struct err_info *info)
{
    char found[SHA256_HEX];
    char wanted[SHA256_HEX];
    if (e != ERR_CORRUPT && e != ERR_UNSUPPORTED)
        return e;
    text_hex(head->old_sha256, SHA256_SIZE, wanted);
    enum err read = file_digest(old_fd, head->old_size, found);
    if (read == ERR_CONFLICT || (read == ERR_OK && !text_eq(found, wanted)))
        return wrong_base(head, info);
    return read == ERR_OK ? e : err_set(info, read, "cannot read the old file");
}

static enum err expect_check(const struct format_head *head, const struct delta_expect *expect, struct err_info *info)
{
    char promised[SHA256_HEX];
    text_hex(head->new_sha256, SHA256_SIZE, promised);
    if (expect == NULL || (expect->new_size == head->new_size && text_eq(promised, expect->new_sha256)))
        return ERR_OK;
    enum err e = err_code(info, ERR_CORRUPT, "delta_invalid", "the delta makes another file than the one expected");
    err_next(info, "Fetch or make the delta again, or use the full file.");
    return e;
}

static enum err rest_rebuild(int old_fd, int out_fd, const struct format_file *f, struct sha256 *hash)
{
    struct part part = {.fd = f->fd, .at = f->rest_at, .end = f->tensors_at};
    struct bin_rebuild what = {.old_fd = old_fd,
                               .new_fd = out_fd,
                               .old = &f->old_rest,
                               .new = &f->new_rest,
                               .effort = f->head.effort,
                               .pipe = {.read = part_read, .user = &part},
                               .coded = (uint64_t)f->head.rest_coded,
                               .hash = hash};
    return f->new_rest.size == 0 ? ERR_OK : bin_decode(&what);
}

static enum err tensors_rebuild(int old_fd, int out_fd, const struct format_file *f, struct err_info *info)
{
    struct part part = {.fd = f->fd, .at = f->tensors_at, .end = f->tensors_at + f->head.tensors_coded};
    struct tensor_source source = {.read = part_read_at, .user = &part, .size = (uint64_t)f->head.tensors_coded};
    size_t held = f->pair_count * sizeof *f->pairs;
    if (f->pair_count == 0)
        return ERR_OK;
    return tensors_decode(old_fd, out_fd, f->pairs, f->pair_count, f->head.effort, &source,
                          DELTA_APPLY_MEMORY_MAX - held, info);
}

/* The digest of what was rebuilt: on the way, when it is written in order, else by reading it again. */
static enum err rebuild(int old_fd, int out_fd, const struct format_file *f, char ret_hex[SHA256_HEX],
                        struct err_info *info)
{
    cleanup_sha256 struct sha256 *hash = NULL;
    bool in_order = f->pair_count == 0;
    enum err e = sha256_new(&hash);
    if (e == ERR_OK)
        e = rest_rebuild(old_fd, out_fd, f, in_order ? hash : NULL);
    if (e == ERR_OK)
        e = tensors_rebuild(old_fd, out_fd, f, info);
    if (e != ERR_OK)
        return e;
    if (in_order)
        return sha256_end(hash, ret_hex);
    e = file_digest(out_fd, f->head.new_size, ret_hex);
    return e == ERR_CONFLICT ? ERR_CORRUPT : e;
}

/* The new file, and whether it is the one that the delta promised. */
static enum err rebuild_checked(int old_fd, int out_fd, const struct format_file *f, struct err_info *info)
{
    char found[SHA256_HEX];
    char wanted[SHA256_HEX];
    enum err e = rebuild(old_fd, out_fd, f, found, info);
    text_hex(f->head.new_sha256, SHA256_SIZE, wanted);
    if (e != ERR_OK)
        return failed(info, e);
    if (text_eq(found, wanted))
        return ERR_OK;
    e = err_code(info, ERR_CORRUPT, "delta_invalid", "the rebuilt file has another SHA-256 than the delta promised");
    err_next(info, "Fetch or make the delta again, or use the full file.");
    return e;
}

enum err delta_apply(int old_fd, int delta_fd, int out_fd, const struct delta_expect *expect, struct err_info *info)
{
    [[gnu::cleanup(format_close)]] struct format_file f = {.fd = -1};
    enum err e = format_open(delta_fd, &f, info);
    if (e == ERR_OK)
        e = expect_check(&f.head, expect, info);
    if (e == ERR_OK)
        e = old_size_check(old_fd, &f.head, info);
    if (e != ERR_OK)
        return e;
    e = rebuild_checked(old_fd, out_fd, &f, info);
    if (e == ERR_OK)
        return e;
    const int emptied = ftruncate(out_fd, 0); /* what is there is of no use, and takes space */
    (void)emptied;                            /* the caller does not use it in any case */
    return old_blame(old_fd, &f.head, e, info);
}

enum err delta_inspect(int delta_fd, struct delta_info *ret_info, struct err_info *info)
{
    [[gnu::cleanup(format_close)]] struct format_file f = {.fd = -1};
    struct stat st;
    enum err e = format_open(delta_fd, &f, info);
    if (e == ERR_OK && fstat(delta_fd, &st) != 0)
        e = err_set(info, ERR_IO, "cannot read the delta: %s", strerror(errno));
    if (e == ERR_OK)
        format_info(&f, st.st_size, ret_info);
    return e;
}
