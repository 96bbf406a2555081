/* Making deltas. */
#include "common/delta/bin_decode.h"
#include "common/delta/bin_encode.h"
#include "common/delta/pairing.h"

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/text.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Shares of the progress. */
static const double share_digests = 0.03;
static const double share_rest_of_model = 0.10;
static const double share_trial = 0.7; /* of a model before it is tried as a binary */

enum { TRIAL_MAX = 24 * 1024 * 1024 }; /* bytes of a new model that is tried as a binary in any case */

/* A file in memory; NULL for an empty one. */
struct mapping {
    void *bytes;
    size_t size;
};

struct creation {
    const struct delta_options *options;
    struct err_info *info;
    struct mapping old_map, new_map;
    struct tensor_files files; /* the same */
    int old_fd, new_fd, out_fd;
    int64_t at; /* written so far */
    struct format_head head;
    struct pairing pairing;
    struct buf directory, notes;
    struct progress progress;
};

/* ---- files ---- */

static enum err file_map(int fd, const char *what, struct mapping *ret_mapping, struct err_info *info)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return err_set(info, ERR_IO, "the %s file is no regular file", what);
    *ret_mapping = (struct mapping){.bytes = NULL};
    if (st.st_size == 0)
        return ERR_OK;
    void *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED)
        return err_set(info, err_from_errno(errno), "cannot read the %s file: %s", what, strerror(errno));
    *ret_mapping = (struct mapping){.bytes = bytes, .size = (size_t)st.st_size};
    return ERR_OK;
}

static void file_unmap(const struct mapping *mapping)
{
    if (mapping->bytes != NULL)
        (void)munmap(mapping->bytes, mapping->size);
}

static enum err write_at(struct creation *c, int64_t at, const void *bytes, size_t len)
{
    const uint8_t *in = bytes;
    while (len > 0) {
        ssize_t n = pwrite(c->out_fd, in, len, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_set(c->info, n < 0 ? err_from_errno(errno) : ERR_IO, "cannot write the delta: %s",
                           strerror(errno));
        in += n;
        at += n;
        len -= (size_t)n;
    }
    return ERR_OK;
}

static enum err append(void *user, const void *bytes, size_t len)
{
    struct creation *c = user;
    enum err e = write_at(c, c->at, bytes, len);
    c->at += (int64_t)len;
    return e;
}

static enum err digest(void *user, size_t i)
{
    struct creation *c = user;
    return i == 0 ? sha256_raw(c->files.old, c->files.old_size, c->head.old_sha256)
                  : sha256_raw(c->files.new, c->files.new_size, c->head.new_sha256);
}

/* ---- what is no tensor ---- */

/* All spans back to back; borrowed from the file when it is one span of it, else *ret_owned. */
static enum err rest_gather(const uint8_t *file, const struct span_list *rest, uint8_t **ret_owned,
                            const uint8_t **ret_bytes)
{
    if (rest->count <= 1) {
        *ret_bytes = rest->count == 0 ? file : file + rest->items[0].offset;
        return ERR_OK;
    }
    uint8_t *bytes = malloc((size_t)rest->size);
    if (bytes == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < rest->count; i++)
        memcpy(bytes + rest->starts[i], file + rest->items[i].offset, (size_t)rest->items[i].size);
    *ret_owned = bytes;
    *ret_bytes = bytes;
    return ERR_OK;
}

static enum err rest_encode(struct creation *c)
{
    [[gnu::cleanup(span_list_free)]] struct span_list old = {0};
    [[gnu::cleanup(span_list_free)]] struct span_list new = {0};
    cleanup_free uint8_t *old_owned = NULL;
    cleanup_free uint8_t *new_owned = NULL;
    struct bin_pair pair = {0};
    uint64_t len = 0;
    enum err e = format_rest(c->pairing.pairs, c->pairing.count, c->head.old_size, c->head.new_size, &old, &new);
    if (e == ERR_OK)
        e = rest_gather(c->files.old, &old, &old_owned, &pair.old);
    if (e == ERR_OK)
        e = rest_gather(c->files.new, &new, &new_owned, &pair.new);
    pair.old_size = (size_t)old.size;
    pair.new_size = (size_t) new.size;
    if (e == ERR_OK && pair.new_size > 0)
        e = bin_encode(&pair, c->options, &c->progress, (struct coded_pipe){.write = append, .user = c}, &len);
    c->head.rest_coded = (int64_t)len;
    return e;
}

/* ---- tensors ---- */

static void tensors_told(void *user, double done)
{
    struct creation *c = user;
    progress_tell(&c->progress, done);
}

static enum err tensors_write(struct creation *c)
{
    size_t count = c->pairing.count;
    cleanup_free int *methods = calloc(count + 1, sizeof *methods);
    cleanup_free int64_t *bytes = calloc(count + 1, sizeof *bytes);
    struct delta_options options = *c->options;
    struct tensor_sink sink = {.write = append, .user = c};
    int64_t start = c->at;
    if (count == 0)
        return ERR_OK;
    if (methods == NULL || bytes == NULL)
        return ERR_NO_MEMORY;
    options.threads = parallel_threads(c->options);
    options.progress = tensors_told;
    options.user = c;
    enum err e = tensors_encode(&c->files, c->pairing.pairs, count, &options, &sink, methods, bytes, c->info);
    c->head.tensors_coded = c->at - start;
    return e == ERR_OK ? format_notes_make(c->pairing.pairs, count, methods, bytes, &c->notes) : e;
}

/* ---- all ---- */

/* Might a model be smaller when it is told like any other file? "best" finds out; "fast" only where tensors are told
 * nearly in full. */
static bool trial_wanted(const struct creation *c, bool written)
{
    if (c->pairing.count == 0)
        return false;
    if (c->head.effort == DELTA_BEST)
        return c->head.new_size <= TRIAL_MAX;
    return written && c->at > c->head.new_size / 10 * 9;
}

/* Writes a delta of the pairs. coded: all of the file, when it was coded before; else NULL. */
static enum err delta_write(struct creation *c, const struct buf *coded)
{
    uint8_t head[FORMAT_HEAD];
    buf_clear(&c->directory);
    buf_clear(&c->notes);
    c->at = FORMAT_HEAD;
    c->head.container = c->pairing.container;
    c->head.tensors_coded = 0;
    size_t memory =
        c->pairing.count == 0 ? bin_decode_memory(c->head.effort) + (size_t)64 * 1024 : DELTA_APPLY_MEMORY_MAX;
    c->head.memory = (uint32_t)(memory / 1024);
    enum err e = format_directory_make(c->pairing.pairs, c->pairing.count, &c->directory, &c->head.directory_size);
    c->head.directory_coded = (uint32_t)c->directory.len;
    if (e == ERR_OK)
        e = append(c, c->directory.data, c->directory.len);
    if (e == ERR_OK && coded != NULL) {
        c->head.rest_coded = (int64_t)coded->len;
        e = append(c, coded->data, coded->len);
    } else if (e == ERR_OK) {
        progress_phase(&c->progress, c->pairing.count == 0 ? 1 : share_rest_of_model);
        e = rest_encode(c);
        progress_phase(&c->progress, trial_wanted(c, false) ? share_trial : 1);
    }
    if (e == ERR_OK)
        e = tensors_write(c);
    c->head.notes_size = (uint32_t)c->notes.len;
    if (e == ERR_OK)
        e = append(c, c->notes.data, c->notes.len);
    if (e == ERR_OK)
        e = format_head_make(&c->head, c->directory.data, c->notes.data, head);
    return e == ERR_OK ? write_at(c, 0, head, sizeof head) : e;
}

static enum err trial_write(void *user, const void *bytes, size_t len)
{
    return buf_add(user, bytes, len);
}

/* The delta that was written is replaced when it is shorter to tell the file like any other, at this effort. */
static enum err trial(struct creation *c, enum delta_effort effort)
{
    struct bin_pair pair = {
        .old = c->files.old, .old_size = c->files.old_size, .new = c->files.new, .new_size = c->files.new_size};
    cleanup_buf struct buf coded = BUF_INIT((size_t)(c->at - FORMAT_HEAD)); /* more would not be shorter */
    struct delta_options options = *c->options;
    struct coded_pipe pipe = {.write = trial_write, .user = &coded};
    uint64_t len = 0;
    options.effort = effort;
    enum err e = bin_encode(&pair, &options, &c->progress, pipe, &len);
    if (e == ERR_TOO_LARGE)
        return ERR_OK;
    if (e != ERR_OK)
        return e;
    if (ftruncate(c->out_fd, FORMAT_HEAD) != 0)
        return err_set(c->info, err_from_errno(errno), "cannot write the delta: %s", strerror(errno));
    pairing_free(&c->pairing);
    c->head.effort = effort;
    return delta_write(c, &coded);
}

/* Other ways that may be shorter. "best" also tries "fast" for what is no model: programs often are, for they are told
 * by other means there. */
static enum err trials(struct creation *c)
{
    enum err e = trial_wanted(c, true) ? trial(c, c->head.effort) : ERR_OK;
    if (e == ERR_OK && c->pairing.count == 0 && c->head.effort == DELTA_BEST)
        e = trial(c, DELTA_FAST);
    return e;
}

static enum err create(struct creation *c)
{
    static const uint8_t nothing[1];
    enum err e = file_map(c->old_fd, "old", &c->old_map, c->info);
    if (e == ERR_OK)
        e = file_map(c->new_fd, "new", &c->new_map, c->info);
    if (e != ERR_OK)
        return e;
    c->files = (struct tensor_files){.old = c->old_map.bytes == NULL ? nothing : c->old_map.bytes,
                                     .old_size = c->old_map.size,
                                     .new = c->new_map.bytes == NULL ? nothing : c->new_map.bytes,
                                     .new_size = c->new_map.size};
    c->head.old_size = (int64_t)c->files.old_size;
    c->head.new_size = (int64_t)c->files.new_size;
    progress_phase(&c->progress, share_digests);
    e = parallel_run(2, parallel_threads(c->options), digest, c);
    if (e == ERR_OK)
        e = pairing_make(&c->files, &c->pairing);
    if (e == ERR_OK)
        e = delta_write(c, NULL);
    progress_phase(&c->progress, 1);
    return e == ERR_OK ? trials(c) : e;
}

enum err delta_create(int old_fd, int new_fd, int out_fd, const struct delta_options *options,
                      struct delta_info *ret_info, struct err_info *info)
{
    struct creation c = {.options = options,
                         .info = info,
                         .old_fd = old_fd,
                         .new_fd = new_fd,
                         .out_fd = out_fd,
                         .head = {.effort = options->effort},
                         .directory = BUF_INIT(FORMAT_DIRECTORY_MAX),
                         .notes = BUF_INIT(FORMAT_NOTES_MAX)};
    progress_begin(&c.progress, options);
    enum err e = create(&c);
    progress_end(&c.progress);
    file_unmap(&c.old_map);
    file_unmap(&c.new_map);
    pairing_free(&c.pairing);
    buf_free(&c.directory);
    buf_free(&c.notes);
    if (e == ERR_NO_MEMORY)
        return err_set(info, e, "not enough memory to make the delta");
    return e == ERR_OK && ret_info != NULL ? delta_inspect(out_fd, ret_info, info) : e;
}
