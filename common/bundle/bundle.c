#include "common/bundle/bundle.h"

#include "common/base/cleanup.h"
#include "common/bundle/reader.h"
#include "common/bundle/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum err bundle_verify(int fd, const struct trust *trust, struct manifest **ret_manifest, struct bundle_keys *ret_keys,
                       struct err_info *info)
{
    static const struct bundle_sink nowhere = {0};
    if (trust == NULL)
        return err_set(info, ERR_INTERNAL, "no keys to trust");
    return bundle_read(fd, trust, &nowhere, ret_manifest, ret_keys, info);
}

/* ---- sign: copy the bundle with one more signature ---- */

struct signing {
    const char *path;
    const struct minisig_secret *key;
    struct writer *writer;
};

static enum err signature_put(struct signing *s, const struct manifest *m, const char *id, struct err_info *info)
{
    char name[64];
    char comment[MINISIG_COMMENT_MAX];
    cleanup_free char *text = NULL;
    (void)snprintf(name, sizeof name, MANIFEST_NAME ".%s.minisig", id);
    (void)snprintf(comment, sizeof comment, "muster bundle %s@%s", m->slot, m->version);
    enum err e = minisig_sign(s->key, m->raw, m->raw_len, comment, &text);
    return e == ERR_OK ? writer_text(s->writer, name, text, strlen(text), info) : e;
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
        e = writer_text(s->writer, MANIFEST_NAME, m->raw, m->raw_len, info);
    for (size_t i = 0; e == ERR_OK && i < count; i++) {
        if (strcmp(signatures[i].id, id) == 0)
            return err_code(info, ERR_CONFLICT, "already_signed", "key %s has already signed this bundle", id);
        e = writer_text(s->writer, signatures[i].name, signatures[i].text, signatures[i].len, info);
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
