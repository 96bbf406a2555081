#include "common/bundle/bundle.h"

#include "common/base/cleanup.h"
#include "common/base/text.h"
#include "common/bundle/reader.h"
#include "common/bundle/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { CHUNK = 64 * 1024 };

enum err bundle_verify(int fd, const struct trust *trust, struct manifest **ret_manifest, struct bundle_keys *ret_keys,
                       struct err_info *info)
{
    static const struct bundle_sink nowhere = {0};
    return bundle_read(fd, trust, &nowhere, ret_manifest, ret_keys, info);
}

/* ---- create ---- */

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

static bool payload_has(const json_t *payload, const char *sha256)
{
    for (size_t i = 0; i < json_array_size(payload); i++)
        if (text_eq(json_text_or_null(json_array_get(payload, i), "file"), sha256))
            return true;
    return false;
}

/* Adds a file to "files", and to "payload" unless equal content is there. */
static enum err file_describe(const struct bundle_file *file, json_t *files, json_t *payload, struct err_info *info)
{
    cleanup_fd int fd = -1;
    struct stat st = {0};
    char sha256[SHA256_HEX];
    int64_t size = 0;
    enum err e = source_open(file->source, &fd, &st, info);
    if (e == ERR_OK)
        e = sha256_fd(fd, sha256, &size);
    if (e != ERR_OK)
        return e;
    const char *mode = (st.st_mode & 0111) != 0 ? "0555" : "0444";
    if (json_array_append_new(files, json_pack("{s:s, s:I, s:s, s:s}", "path", file->path, "size", (json_int_t)size,
                                               "sha256", sha256, "mode", mode)) != 0)
        return err_set(info, ERR_INVALID, "the path \"%.80s\" is not UTF-8", file->path);
    if (payload_has(payload, sha256))
        return ERR_OK;
    json_t *made = json_pack("{s:s, s:s, s:I, s:s}", "file", sha256, "encoding", "raw", "size", (json_int_t)size,
                             "sha256", sha256);
    return json_array_append_new(payload, made) == 0 ? ERR_OK : ERR_NO_MEMORY;
}

/* The manifest's text: schema first, then the head, then what is in the bundle. */
static enum err manifest_compose(const json_t *head, const struct bundle_file *files, size_t count, int64_t created_ms,
                                 struct manifest **ret_manifest, struct err_info *info)
{
    json_auto_t *list = json_array();
    json_auto_t *payload = json_array();
    json_auto_t *manifest = json_pack("{s:i}", "schema", 1);
    if (list == NULL || payload == NULL || manifest == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < count; i++) {
        enum err e = file_describe(&files[i], list, payload, info);
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

/* Copies the file into the present entry; it must still be what was described. */
static enum err file_copy(struct writer *w, const char *source, const struct manifest_payload *p, struct err_info *info)
{
    cleanup_fd int fd = -1;
    cleanup_sha256 struct sha256 *hash = NULL;
    struct stat st = {0};
    char chunk[CHUNK];
    char sha256[SHA256_HEX] = "";
    enum err e = source_open(source, &fd, &st, info);
    if (e == ERR_OK)
        e = sha256_new(&hash);
    for (int64_t left = p->size; e == ERR_OK && left > 0;) {
        ssize_t n = read(fd, chunk, left < CHUNK ? (size_t)left : CHUNK);
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
        e = err_set(info, ERR_CONFLICT, "%.200s: the file changed while it was read; try again", source);
    return e;
}

enum err bundle_create(const json_t *head, const struct bundle_file *files, size_t count, int64_t created_ms,
                       const char *out, struct manifest **ret_manifest, struct err_info *info)
{
    cleanup_manifest struct manifest *m = NULL;
    cleanup_writer struct writer *w = NULL;
    enum err e = manifest_compose(head, files, count, created_ms, &m, info);
    if (e == ERR_OK)
        e = writer_new(out, created_ms, &w, info);
    if (e == ERR_OK)
        e = writer_entry(w, MANIFEST_NAME, (int64_t)m->raw_len, info);
    if (e == ERR_OK)
        e = writer_bytes(w, m->raw, m->raw_len, info);
    for (size_t i = 0; e == ERR_OK && i < m->payload_count; i++) {
        char name[MANIFEST_PAYLOAD_NAME];
        manifest_payload_name(&m->payload[i], name);
        e = writer_entry(w, name, m->payload[i].size, info);
        if (e == ERR_OK)
            e = file_copy(w, files[manifest_payload_file(m, &m->payload[i]) - m->files].source, &m->payload[i], info);
    }
    if (e == ERR_OK)
        e = writer_commit(w, info);
    if (e != ERR_OK)
        return e;
    *ret_manifest = m;
    m = NULL;
    return ERR_OK;
}

/* ---- sign: copy the bundle with one more signature ---- */

struct signing {
    const char *path;
    const struct minisig_secret *key;
    struct writer *writer;
};

static enum err entry_put(struct writer *w, const char *name, const void *bytes, size_t len, struct err_info *info)
{
    enum err e = writer_entry(w, name, (int64_t)len, info);
    return e == ERR_OK ? writer_bytes(w, bytes, len, info) : e;
}

static enum err signature_put(struct signing *s, const struct manifest *m, const char *id, struct err_info *info)
{
    char name[64];
    char comment[MINISIG_COMMENT_MAX];
    cleanup_free char *text = NULL;
    (void)snprintf(name, sizeof name, MANIFEST_NAME ".%s.minisig", id);
    (void)snprintf(comment, sizeof comment, "muster bundle %s@%s", m->slot, m->version);
    enum err e = minisig_sign(s->key, m->raw, m->raw_len, comment, &text);
    return e == ERR_OK ? entry_put(s->writer, name, text, strlen(text), info) : e;
}

static enum err signing_head(void *user, const struct manifest *m, const struct bundle_signature *signatures,
                             size_t count, struct err_info *info)
{
    struct signing *s = user;
    char id[MINISIG_ID_TEXT];
    minisig_id_text(s->key->id, id);
    int64_t created_ms = json_integer_value(json_object_get(m->json, "created"));
    enum err e = writer_new(s->path, created_ms, &s->writer, info);
    if (e == ERR_OK)
        e = entry_put(s->writer, MANIFEST_NAME, m->raw, m->raw_len, info);
    for (size_t i = 0; e == ERR_OK && i < count; i++) {
        if (strcmp(signatures[i].id, id) == 0)
            return err_code(info, ERR_CONFLICT, "already_signed", "key %s has already signed this bundle", id);
        e = entry_put(s->writer, signatures[i].name, signatures[i].text, signatures[i].len, info);
    }
    if (e == ERR_OK && count == BUNDLE_KEYS_MAX)
        return err_code(info, ERR_TOO_LARGE, "too_many_keys", "a bundle has at most %d signatures", BUNDLE_KEYS_MAX);
    return e == ERR_OK ? signature_put(s, m, id, info) : e;
}

static enum err signing_begin(void *user, const struct bundle_item *item, struct err_info *info)
{
    struct signing *s = user;
    char name[MANIFEST_PAYLOAD_NAME];
    manifest_payload_name(item->payload, name);
    return writer_entry(s->writer, name, item->size, info);
}

static enum err signing_bytes(void *user, const void *bytes, size_t len, struct err_info *info)
{
    struct signing *s = user;
    return writer_bytes(s->writer, bytes, len, info);
}

enum err bundle_sign(const char *path, const struct minisig_secret *key, struct err_info *info)
{
    cleanup_manifest struct manifest *m = NULL;
    struct signing signing = {.path = path, .key = key};
    struct bundle_sink sink = {.user = &signing, .head = signing_head, .begin = signing_begin, .raw = signing_bytes};
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(info, err_from_errno(errno), "%.200s: cannot read: %s", path, strerror(errno));
    enum err e = bundle_read(fd, NULL, &sink, &m, NULL, info);
    if (e == ERR_OK)
        e = writer_commit(signing.writer, info);
    signing.writer = writer_free(signing.writer);
    return e;
}
