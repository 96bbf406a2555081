/* bundle_delta: the new bundle again, with deltas against an old one in the place of its payload. */

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/text.h"
#include "common/bundle/reader.h"
#include "common/bundle/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 64 * 1024 };

/* How one payload item of the new bundle will travel. */
struct choice {
    enum bundle_form form;
    int64_t size; /* of the delta */
};

struct making {
    const struct delta_options *options;
    char dir[PATH_MAX]; /* everything temporary; "": none */
    struct manifest *old, *new;
    struct choice *choices; /* one for each of new's payload */
    struct bundle_delta_report report;
    struct writer *writer;
    bool copying; /* the entry that is being read goes into the writer as it is */
    const char *out;
    int64_t total, before, now; /* progress: bytes of all files, of those that are done, of the present one */
};

static void cleanup_making(struct making *d)
{
    (void)manifest_free(d->old);
    (void)manifest_free(d->new);
    free(d->choices);
    (void)writer_free(d->writer);
    if (d->dir[0] != '\0')
        (void)file_remove_tree(d->dir);
}

static enum err failed(struct err_info *info, const char *path, int number)
{
    return err_set(info, err_from_errno(number), "%.200s: %s", path, strerror(number));
}

/* ---- the two bundles, unpacked ---- */

static enum err dir_open(const char *path, int *ret_fd, struct err_info *info)
{
    if (mkdir(path, 0700) != 0)
        return failed(info, path, errno);
    *ret_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *ret_fd < 0 ? failed(info, path, errno) : ERR_OK;
}

static enum err unpack(const struct making *d, int fd, const char *name, struct manifest **ret_manifest,
                       struct err_info *info)
{
    char path[PATH_MAX];
    cleanup_fd int dir = -1;
    (void)snprintf(path, sizeof path, "%.*s/%s", PATH_MAX - 16, d->dir, name);
    if (lseek(fd, 0, SEEK_SET) != 0)
        return failed(info, "a bundle", errno);
    enum err e = dir_open(path, &dir, info);
    return e == ERR_OK ? bundle_unpack(fd, NULL, NULL, dir, ret_manifest, NULL, info) : e;
}

static enum err both_unpack(struct making *d, int old_fd, int new_fd, struct err_info *info)
{
    enum err e = unpack(d, old_fd, "old", &d->old, info);
    if (e == ERR_OK)
        e = unpack(d, new_fd, "new", &d->new, info);
    if (e != ERR_OK)
        return e;
    if (strcmp(d->old->slot, d->new->slot) != 0 || d->old->kind != d->new->kind)
        return err_code(info, ERR_CONFLICT, "bundle_slots_differ",
                        "the old bundle is a %s for the slot %s, the new one a %s for %s: no device has both",
                        manifest_kind_name(d->old->kind), d->old->slot, manifest_kind_name(d->new->kind), d->new->slot);
    d->choices = calloc(d->new->payload_count, sizeof *d->choices);
    return d->choices == NULL ? ERR_NO_MEMORY : ERR_OK;
}

/* ---- which old file is like a new one ---- */

static const char *extension_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *dot = strrchr(path, '.');
    return dot == NULL || (slash != NULL && dot < slash) ? "" : dot;
}

/* How much alike two paths are: what they begin and end with, and above all their kind of file. */
static size_t likeness(const char *a, const char *b)
{
    size_t a_len = strlen(a);
    size_t b_len = strlen(b);
    size_t least = a_len < b_len ? a_len : b_len;
    size_t front = 0;
    size_t back = 0;
    while (front < least && a[front] == b[front])
        front++;
    while (back < least - front && a[a_len - back - 1] == b[b_len - back - 1])
        back++;
    size_t same = strcmp(a, b) == 0 ? 4 * MANIFEST_PATH_MAX : 0;
    size_t kind = strcmp(extension_of(a), extension_of(b)) == 0 ? 2 * MANIFEST_PATH_MAX : 0;
    return same + kind + front + back;
}

static int64_t distance(int64_t a, int64_t b)
{
    return a > b ? a - b : b - a;
}

/* There is always one. */
static const struct manifest_file *old_choose(const struct manifest *old, const struct manifest_file *file)
{
    const struct manifest_file *best = &old->files[0];
    for (size_t i = 1; i < old->file_count; i++) {
        const struct manifest_file *other = &old->files[i];
        size_t like = likeness(other->path, file->path);
        size_t best_like = likeness(best->path, file->path);
        if (like > best_like ||
            (like == best_like && distance(other->size, file->size) < distance(best->size, file->size)))
            best = other;
    }
    return best;
}

static bool old_has(const struct manifest *old, const char *sha256)
{
    for (size_t i = 0; i < old->file_count; i++)
        if (strcmp(old->files[i].sha256, sha256) == 0)
            return true;
    return false;
}

/* ---- the deltas ---- */

static void progress_pass(void *user, double done)
{
    const struct making *d = user;
    double all = (double)d->before + done * (double)d->now;
    d->options->progress(d->options->user, d->total == 0 ? 1 : all / (double)d->total);
}

static enum err file_open(const struct making *d, const char *where, const char *path, int flags, int *ret_fd,
                          struct err_info *info)
{
    char full[PATH_MAX];
    int n = snprintf(full, sizeof full, "%s/%s/%s", d->dir, where, path);
    if (n < 0 || (size_t)n >= sizeof full)
        return err_set(info, ERR_INVALID, "the scratch directory's path is too long");
    *ret_fd = open(full, flags | O_CLOEXEC, 0600);
    return *ret_fd < 0 ? failed(info, full, errno) : ERR_OK;
}

/* A delta is only worth sending when a device will be able to rebuild from it: tried here, once for all of them. */
static enum err delta_try(const struct making *d, int old, int delta, const struct manifest_file *file, bool *ret_good,
                          struct err_info *info)
{
    cleanup_fd int out = -1;
    struct err_info why = {0};
    const struct delta_expect expect = {.new_sha256 = file->sha256, .new_size = file->size};
    enum err e = file_unnamed(d->dir, &out);
    if (e != ERR_OK)
        return err_set(info, e, "%.200s: cannot make a file: %s", d->dir, err_name(e));
    e = delta_apply(old, delta, out, &expect, &why);
    *ret_good = e == ERR_OK;
    if (e == ERR_OK || e == ERR_CORRUPT || e == ERR_CONFLICT || e == ERR_UNSUPPORTED)
        return ERR_OK;
    if (info != NULL)
        *info = why;
    return e;
}

static enum err delta_make(struct making *d, size_t index, const struct manifest_file *file, struct err_info *info)
{
    const struct manifest_payload *p = &d->new->payload[index];
    const struct manifest_file *base = old_choose(d->old, file);
    struct delta_options options = *d->options;
    cleanup_fd int old = -1;
    cleanup_fd int new = -1;
    cleanup_fd int out = -1;
    struct stat st;
    char name[32];
    bool good = false;
    (void)snprintf(name, sizeof name, "%zu", index);
    options.progress = d->options->progress == NULL ? NULL : progress_pass;
    options.user = d;
    enum err e = file_open(d, "old", base->path, O_RDONLY, &old, info);
    if (e == ERR_OK)
        e = file_open(d, "new", file->path, O_RDONLY, &new, info);
    if (e == ERR_OK)
        e = file_open(d, "delta", name, O_RDWR | O_CREAT | O_EXCL, &out, info);
    if (e == ERR_OK)
        e = delta_create(old, new, out, &options, NULL, info);
    if (e == ERR_OK && fstat(out, &st) != 0)
        e = failed(info, name, errno);
    if (e != ERR_OK || st.st_size >= p->size)
        return e;
    e = delta_try(d, old, out, file, &good, info);
    if (good)
        d->choices[index] = (struct choice){.form = BUNDLE_DELTA, .size = st.st_size};
    return e;
}

static enum err choices_make(struct making *d, struct err_info *info)
{
    const struct manifest *m = d->new;
    char path[PATH_MAX];
    cleanup_fd int dir = -1;
    (void)snprintf(path, sizeof path, "%.*s/delta", PATH_MAX - 16, d->dir);
    enum err e = dir_open(path, &dir, info);
    for (size_t i = 0; i < m->payload_count; i++)
        d->total += manifest_payload_file(m, &m->payload[i])->size;
    for (size_t i = 0; e == ERR_OK && i < m->payload_count; i++) {
        const struct manifest_file *file = manifest_payload_file(m, &m->payload[i]);
        d->now = file->size;
        if (old_has(d->old, file->sha256))
            d->choices[i].form = BUNDLE_SAME;
        else
            e = delta_make(d, i, file, info);
        d->before += d->now;
        d->now = 0;
        if (e == ERR_OK && d->options->progress != NULL)
            progress_pass(d, 0);
    }
    return e;
}

/* ---- the bundle, written while the new one is read again ---- */

static enum err making_head(void *user, const struct manifest *m, const struct bundle_signature *signatures,
                            size_t count, struct err_info *info)
{
    struct making *d = user;
    int64_t created_ms = json_integer_value(json_object_get(m->json, "created"));
    enum err e = writer_new(d->out, created_ms, &d->writer, info);
    if (e == ERR_OK)
        e = writer_text(d->writer, MANIFEST_NAME, m->raw, m->raw_len, info);
    for (size_t i = 0; e == ERR_OK && i < count; i++)
        e = writer_text(d->writer, signatures[i].name, signatures[i].text, signatures[i].len, info);
    return e;
}

static enum err making_begin(void *user, const struct bundle_item *item, struct err_info *info)
{
    struct making *d = user;
    char name[MANIFEST_PAYLOAD_NAME];
    const struct choice *choice = &d->choices[item->index];
    d->copying = choice->form == BUNDLE_FULL;
    switch (choice->form) {
    case BUNDLE_SAME:
        d->report.same++;
        (void)snprintf(name, sizeof name, "same/%.64s", item->payload->file);
        return writer_entry(d->writer, name, 0, info);
    case BUNDLE_DELTA:
        d->report.delta++;
        (void)snprintf(name, sizeof name, "delta/%.64s", item->payload->file);
        return writer_entry(d->writer, name, choice->size, info);
    case BUNDLE_FULL:
        break;
    }
    d->report.full++;
    manifest_payload_name(item->payload, name);
    return writer_entry(d->writer, name, item->size, info);
}

static enum err delta_copy(struct making *d, const struct bundle_item *item, struct err_info *info)
{
    char name[32];
    char chunk[CHUNK];
    cleanup_fd int fd = -1;
    (void)snprintf(name, sizeof name, "%zu", item->index);
    enum err e = file_open(d, "delta", name, O_RDONLY, &fd, info);
    for (int64_t left = d->choices[item->index].size; e == ERR_OK && left > 0;) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return failed(info, "a delta", n == 0 ? EIO : errno);
        left -= n;
        e = writer_bytes(d->writer, chunk, (size_t)n, info);
    }
    return e;
}

/* Full entries are copied as they come by; of the others' bytes nothing is wanted. */
static enum err making_raw(void *user, const void *bytes, size_t len, struct err_info *info)
{
    struct making *d = user;
    return d->copying ? writer_bytes(d->writer, bytes, len, info) : ERR_OK;
}

static enum err making_end(void *user, const struct bundle_item *item, struct err_info *info)
{
    struct making *d = user;
    return d->choices[item->index].form == BUNDLE_DELTA ? delta_copy(d, item, info) : ERR_OK;
}

static enum err making_write(struct making *d, int new_fd, struct err_info *info)
{
    cleanup_manifest struct manifest *m = NULL;
    struct bundle_sink sink = {
        .user = d, .head = making_head, .begin = making_begin, .raw = making_raw, .end = making_end};
    struct stat st;
    if (lseek(new_fd, 0, SEEK_SET) != 0 || fstat(new_fd, &st) != 0)
        return failed(info, "the new bundle", errno);
    d->report.full_size = st.st_size;
    enum err e = bundle_read(new_fd, NULL, &sink, &m, NULL, info);
    if (e == ERR_OK && strcmp(m->id, d->new->id) != 0)
        e = err_set(info, ERR_CONFLICT, "the new bundle changed while it was read");
    if (e == ERR_OK)
        e = writer_commit(d->writer, info);
    if (e == ERR_OK && stat(d->out, &st) != 0)
        e = failed(info, d->out, errno);
    if (e == ERR_OK)
        d->report.delta_size = st.st_size;
    return e;
}

enum err bundle_delta(int old_fd, int new_fd, const struct delta_options *options, const char *scratch, const char *out,
                      struct bundle_delta_report *ret_report, struct err_info *info)
{
    [[gnu::cleanup(cleanup_making)]] struct making d = {.options = options, .out = out};
    char dir[PATH_MAX];
    int n = snprintf(dir, sizeof dir, "%s/bundle-delta-XXXXXX", scratch);
    if (n < 0 || (size_t)n >= sizeof dir - MANIFEST_PATH_MAX - 16)
        return err_set(info, ERR_INVALID, "the scratch directory's path is too long");
    if (mkdtemp(dir) == NULL)
        return failed(info, scratch, errno);
    (void)text_copy(d.dir, sizeof d.dir, dir);
    enum err e = both_unpack(&d, old_fd, new_fd, info);
    if (e == ERR_OK)
        e = choices_make(&d, info);
    if (e == ERR_OK)
        e = making_write(&d, new_fd, info);
    if (e == ERR_OK && ret_report != NULL)
        *ret_report = d.report;
    return e;
}
