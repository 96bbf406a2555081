/* bundle_create: describes the files in a manifest and writes them behind it. */

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/text.h"
#include "common/bundle/blocks.h"
#include "common/bundle/bundle.h"
#include "common/bundle/deflate.h"
#include "common/bundle/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    CHUNK = 64 * 1024,
    BLOCK_TEXT = 128 /* bytes of the manifest that one more block takes at most, with its part of what is around */
};

/* A file as it was described, and where its compressed form is, if it has one. */
struct source {
    char sha256[SHA256_HEX]; /* of the file */
    int64_t size;
    bool executable;
    struct deflated packed; /* size 0: it travels as it is */
};

struct creation {
    const struct bundle_file *files;
    size_t count;
    struct source *sources; /* one for each of files */
    int packed_fd;          /* all compressed forms, back to back, in a file without a name; -1: none */
};

static void cleanup_creation(struct creation *c)
{
    free(c->sources);
    if (c->packed_fd >= 0)
        (void)close(c->packed_fd);
}

static enum err source_open(const char *path, int *ret_fd, struct stat *ret_stat, struct err_info *info)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_set(info, err_from_errno(errno), "%.200s: cannot read: %s", path, strerror(errno));
    if (fstat(fd, ret_stat) != 0 || !S_ISREG(ret_stat->st_mode)) {
        (void)close(fd);
        return err_set(info, ERR_INVALID, "%.200s: not a plain file", path);
    }
    *ret_fd = fd;
    return ERR_OK;
}

/* The first file with this content: the one that its payload entry is made of. */
static size_t first_with(const struct creation *c, const char *sha256)
{
    size_t i = 0;
    while (strcmp(c->sources[i].sha256, sha256) != 0)
        i++;
    return i;
}

static enum err source_read(struct creation *c, size_t i, struct err_info *info)
{
    cleanup_fd int fd = -1;
    struct stat st = {0};
    enum err e = source_open(c->files[i].source, &fd, &st, info);
    if (e != ERR_OK)
        return e;
    c->sources[i].executable = c->files[i].executable || (st.st_mode & 0111) != 0;
    return sha256_fd(fd, c->sources[i].sha256, &c->sources[i].size);
}

/* Compresses a file, and keeps the result if that saves at least a twentieth. */
static enum err source_pack(struct creation *c, size_t i, struct err_info *info)
{
    cleanup_fd int fd = -1;
    struct stat st = {0};
    struct deflated packed = {0};
    struct source *source = &c->sources[i];
    if (!c->files[i].compress || first_with(c, source->sha256) != i)
        return ERR_OK;
    enum err e = source_open(c->files[i].source, &fd, &st, info);
    if (e == ERR_OK)
        e = deflate_fd(fd, c->packed_fd, &packed, info);
    if (e != ERR_OK)
        return e;
    /* An entry is called by its digest: it may not be that of a file that travels, too. */
    for (size_t k = 0; k < c->count; k++)
        if (strcmp(c->sources[k].sha256, packed.sha256) == 0)
            return ERR_OK;
    if (packed.size <= source->size - source->size / 20)
        source->packed = packed;
    return ERR_OK;
}

/* Beside the bundle, where there will be room for it. */
static enum err packed_open(const char *out, int *ret_fd, struct err_info *info)
{
    char dir[PATH_MAX];
    if (!text_copy(dir, sizeof dir, out))
        return err_set(info, ERR_INVALID, "the path is too long");
    enum err e = file_unnamed(dirname(dir), ret_fd);
    return e == ERR_OK ? e : err_set(info, e, "%.200s: cannot write beside it: %s", out, err_name(e));
}

static enum err sources_read(struct creation *c, const char *out, struct err_info *info)
{
    enum err e = ERR_OK;
    bool compress = false;
    c->sources = calloc(c->count + 1, sizeof *c->sources); /* of none, too */
    if (c->sources == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; e == ERR_OK && i < c->count; i++) {
        e = source_read(c, i, info);
        compress |= c->files[i].compress;
    }
    if (e == ERR_OK && compress)
        e = packed_open(out, &c->packed_fd, info);
    for (size_t i = 0; e == ERR_OK && i < c->count; i++)
        e = source_pack(c, i, info);
    return e;
}

/* Adds a file to "files", and to "payload" unless equal content is there. */
static enum err source_describe(const struct creation *c, size_t i, json_t *files, json_t *payload,
                                struct err_info *info)
{
    const struct source *source = &c->sources[i];
    bool packed = source->packed.size > 0;
    if (json_array_append_new(files, json_pack("{s:s, s:I, s:s, s:s}", "path", c->files[i].path, "size",
                                               (json_int_t)source->size, "sha256", source->sha256, "mode",
                                               source->executable ? "0555" : "0444")) != 0)
        return err_set(info, ERR_INVALID, "the path \"%.80s\" is not UTF-8", c->files[i].path);
    if (first_with(c, source->sha256) != i)
        return ERR_OK;
    json_t *made = json_pack("{s:s, s:s, s:I, s:s}", "file", source->sha256, "encoding", packed ? "zstd" : "raw",
                             "size", (json_int_t)(packed ? source->packed.size : source->size), "sha256",
                             packed ? source->packed.sha256 : source->sha256);
    return json_array_append_new(payload, made) == 0 ? ERR_OK : ERR_NO_MEMORY;
}

/* The manifest's text: schema first, then the head, then what is in the bundle. */
static enum err manifest_compose(const struct creation *c, const json_t *head, int64_t created_ms,
                                 struct manifest **ret_manifest, struct err_info *info)
{
    json_auto_t *list = json_array();
    json_auto_t *payload = json_array();
    json_auto_t *manifest = json_pack("{s:i}", "schema", 1);
    if (list == NULL || payload == NULL || manifest == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < c->count; i++) {
        enum err e = source_describe(c, i, list, payload, info);
        if (e != ERR_OK)
            return e;
    }
    cleanup_free char *text = NULL;
    size_t len = 0;
    if (json_object_update(manifest, (json_t *)head) != 0 ||
        json_object_set_new(manifest, "created", json_integer(created_ms)) != 0 ||
        json_object_set(manifest, "files", list) != 0 || json_object_set(manifest, "payload", payload) != 0)
        return ERR_NO_MEMORY;
    enum err e = json_print(manifest, &text, &len);
    return e == ERR_OK ? manifest_parse(text, len, ret_manifest, info) : e;
}

/* Where a payload entry's bytes are. The caller closes the fd. */
static enum err entry_open(const struct creation *c, const struct manifest_payload *p, int *ret_fd, int64_t *ret_offset,
                           struct err_info *info)
{
    size_t i = first_with(c, p->file);
    struct stat st = {0};
    *ret_offset = 0;
    if (p->encoding == MANIFEST_RAW)
        return source_open(c->files[i].source, ret_fd, &st, info);
    *ret_offset = c->sources[i].packed.offset;
    *ret_fd = fcntl(c->packed_fd, F_DUPFD_CLOEXEC, 0);
    return *ret_fd < 0 ? err_from_errno(errno) : ERR_OK;
}

/* Adds the digests of blocks to the manifest's large entries: as many as it has room for. */
static enum err blocks_add(const struct creation *c, struct manifest **manifest, struct err_info *info)
{
    struct manifest *m = *manifest;
    int64_t room = (int64_t)(MANIFEST_BYTES_MAX - m->raw_len) / BLOCK_TEXT;
    int64_t size = blocks_size(m->payload, m->payload_count, room < BLOCKS_MAX ? room : BLOCKS_MAX);
    if (size == 0)
        return ERR_OK;
    for (size_t i = 0; i < m->payload_count; i++) {
        const struct manifest_payload *p = &m->payload[i];
        cleanup_fd int fd = -1;
        int64_t offset = 0;
        json_t *blocks = NULL;
        if (p->size <= size)
            continue;
        enum err e = entry_open(c, p, &fd, &offset, info);
        if (e == ERR_OK)
            e = blocks_describe(fd, offset, p->size, size, &blocks);
        if (e == ERR_OK &&
            json_object_set_new(json_array_get(json_object_get(m->json, "payload"), i), "blocks", blocks) != 0)
            e = ERR_NO_MEMORY;
        if (e != ERR_OK)
            return e;
    }
    cleanup_free char *text = NULL;
    size_t len = 0;
    struct manifest *with_blocks = NULL;
    enum err e = json_print(m->json, &text, &len);
    if (e == ERR_OK)
        e = manifest_parse(text, len, &with_blocks, info);
    if (e != ERR_OK)
        return e;
    (void)manifest_free(m);
    *manifest = with_blocks;
    return ERR_OK;
}

/* Copies bytes of fd into the present entry; they must still be what was described. */
static enum err entry_copy(struct writer *w, int fd, int64_t offset, const struct manifest_payload *p, const char *name,
                           struct err_info *info)
{
    cleanup_sha256 struct sha256 *hash = NULL;
    char chunk[CHUNK];
    char sha256[SHA256_HEX] = "";
    enum err e = sha256_new(&hash);
    for (int64_t left = p->size; e == ERR_OK && left > 0;) {
        ssize_t n = pread(fd, chunk, left < CHUNK ? (size_t)left : CHUNK, offset + p->size - left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        left -= n;
        e = sha256_add(hash, chunk, (size_t)n);
        if (e == ERR_OK)
            e = writer_bytes(w, chunk, (size_t)n, info);
    }
    if (e == ERR_OK)
        e = sha256_end(hash, sha256);
    if (e == ERR_OK && strcmp(sha256, p->sha256) != 0)
        e = err_set(info, ERR_CONFLICT, "%.200s: the file changed while it was read; try again", name);
    return e;
}

static enum err payload_write(const struct creation *c, struct writer *w, const struct manifest_payload *p,
                              struct err_info *info)
{
    char entry[MANIFEST_PAYLOAD_NAME];
    cleanup_fd int fd = -1;
    int64_t offset = 0;
    manifest_payload_name(p, entry);
    enum err e = writer_entry(w, entry, p->size, info);
    if (e == ERR_OK)
        e = entry_open(c, p, &fd, &offset, info);
    return e == ERR_OK ? entry_copy(w, fd, offset, p, c->files[first_with(c, p->file)].source, info) : e;
}

enum err bundle_create(const json_t *head, const struct bundle_file *files, size_t count, int64_t created_ms,
                       const char *out, struct manifest **ret_manifest, struct err_info *info)
{
    [[gnu::cleanup(cleanup_creation)]] struct creation c = {.files = files, .count = count, .packed_fd = -1};
    cleanup_manifest struct manifest *m = NULL;
    cleanup_writer struct writer *w = NULL;
    enum err e = sources_read(&c, out, info);
    if (e == ERR_OK)
        e = manifest_compose(&c, head, created_ms, &m, info);
    if (e == ERR_OK)
        e = blocks_add(&c, &m, info);
    if (e == ERR_OK)
        e = writer_new(out, created_ms, &w, info);
    if (e == ERR_OK)
        e = writer_text(w, MANIFEST_NAME, m->raw, m->raw_len, info);
    for (size_t i = 0; e == ERR_OK && i < m->payload_count; i++)
        e = payload_write(&c, w, &m->payload[i], info);
    if (e == ERR_OK)
        e = writer_commit(w, info);
    if (e != ERR_OK)
        return e;
    *ret_manifest = m;
    m = NULL;
    return ERR_OK;
}
