#include "common/bundle/reader.h"

#include "common/base/cleanup.h"
#include "common/base/text.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 64 * 1024, PADDING_MAX = 1024 * 1024 };

struct reader {
    int fd;
    struct archive *archive;
    struct archive_entry *entry; /* the present header; NULL after the last one; owned by archive */
    const char *name;            /* of entry, checked; "" after the last one */
    int64_t size;                /* of entry */
    int read_errno;              /* of the last failed read(); 0: none */
    int64_t nonzero_end;         /* offset behind the last byte of the file that was not zero, so far */
    int64_t position;            /* bytes read from fd */
    size_t signature_count;
    struct bundle_signature signatures[BUNDLE_KEYS_MAX];
    char chunk[CHUNK]; /* libarchive's window on the file */
    char piece[CHUNK]; /* a piece of an entry */
};

static enum err malformed(struct reader *r, struct err_info *info)
{
    if (r->read_errno != 0)
        return err_set(info, err_from_errno(r->read_errno), "cannot read the bundle: %s", strerror(r->read_errno));
    if (archive_errno(r->archive) == ENOMEM)
        return ERR_NO_MEMORY;
    const char *why = archive_error_string(r->archive);
    return err_code(info, ERR_CORRUPT, "bundle_malformed", "this is not a whole bundle (an uncompressed tar): %.200s",
                    why == NULL ? "no reason given" : why);
}

/* ---- the tar layer ---- */

static la_ssize_t file_next(struct archive *archive, void *user, const void **ret_bytes)
{
    struct reader *r = user;
    ssize_t n = 0;
    do
        n = read(r->fd, r->chunk, sizeof r->chunk);
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        r->read_errno = errno;
        archive_set_error(archive, errno, "read failed");
        return -1;
    }
    size_t used = (size_t)n;
    while (used > 0 && r->chunk[used - 1] == '\0')
        used--;
    if (used > 0)
        r->nonzero_end = r->position + (int64_t)used;
    r->position += n;
    *ret_bytes = r->chunk;
    return n;
}

static enum err reader_open(struct reader *r, int fd, struct err_info *info)
{
    r->fd = fd;
    r->archive = archive_read_new();
    if (r->archive == NULL)
        return ERR_NO_MEMORY;
    if (archive_read_support_format_tar(r->archive) != ARCHIVE_OK ||
        archive_read_open(r->archive, r, NULL, file_next, NULL) != ARCHIVE_OK)
        return malformed(r, info);
    return ERR_OK;
}

static void reader_free(struct reader *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->signature_count; i++)
        free(r->signatures[i].text);
    (void)archive_read_free(r->archive);
    free(r);
}

static void cleanup_reader_p(struct reader **r)
{
    reader_free(*r);
}

static enum err refused(struct err_info *info, const char *name, const char *why)
{
    return err_code(info, ERR_CORRUPT, "payload_mismatch", "entry \"%.100s\": %s", name, why);
}

/* A plain file, nothing else. What it may be called, its place in the order says. */
static enum err entry_check(struct reader *r, struct err_info *info)
{
    struct archive_entry *e = r->entry;
    const char *name = archive_entry_pathname(e);
    if (name == NULL)
        return refused(info, "", "its name cannot be read");
    if (archive_entry_hardlink(e) != NULL || archive_entry_symlink(e) != NULL)
        return refused(info, name, "it is a link; only plain files are allowed");
    if (archive_entry_filetype(e) != AE_IFREG)
        return refused(info, name, "it is not a plain file");
    if ((archive_entry_perm(e) & 07000) != 0)
        return refused(info, name, "it has a setuid, setgid or sticky bit");
    if (archive_entry_sparse_count(e) > 0 || !archive_entry_size_is_set(e) || archive_entry_size(e) < 0)
        return refused(info, name, "it is sparse or has no size");
    r->name = name;
    r->size = archive_entry_size(e);
    return ERR_OK;
}

/* Goes to the next header; r->entry is NULL at the end. */
static enum err entry_next(struct reader *r, struct err_info *info)
{
    int rc = archive_read_next_header(r->archive, &r->entry);
    if (rc == ARCHIVE_OK)
        return entry_check(r, info);
    r->entry = NULL;
    r->name = "";
    return rc == ARCHIVE_EOF ? ERR_OK : malformed(r, info);
}

/* All of a small entry (free() it). */
static enum err entry_text(struct reader *r, int64_t max, char **ret_text, size_t *ret_len, struct err_info *info)
{
    if (r->size > max)
        return refused(info, r->name, "it is larger than it may be");
    size_t size = (size_t)r->size;
    cleanup_free char *text = malloc(size + 1);
    if (text == NULL)
        return ERR_NO_MEMORY;
    if (archive_read_data(r->archive, text, size) != (la_ssize_t)size)
        return malformed(r, info);
    text[size] = '\0';
    *ret_len = size;
    *ret_text = text;
    text = NULL;
    return ERR_OK;
}

/* After the last entry: only zeros, and few of them. */
static enum err rest_check(struct reader *r, struct err_info *info)
{
    int64_t end = archive_filter_bytes(r->archive, -1);
    const void *bytes = NULL;
    for (la_ssize_t n = 1; n > 0 && r->position - end <= PADDING_MAX;) {
        n = file_next(r->archive, r, &bytes);
        if (n < 0)
            return malformed(r, info);
    }
    if (r->nonzero_end > end || r->position - end > PADDING_MAX)
        return err_code(info, ERR_CORRUPT, "bundle_malformed", "there is data after the end of the archive");
    return ERR_OK;
}

/* ---- manifest and signatures ---- */

static enum err manifest_read(struct reader *r, char **ret_text, size_t *ret_len, struct err_info *info)
{
    enum err e = entry_next(r, info);
    if (e != ERR_OK)
        return e;
    if (strcmp(r->name, MANIFEST_NAME) != 0)
        return err_code(info, ERR_CORRUPT, "bundle_malformed", "the first entry is \"%.100s\", not " MANIFEST_NAME,
                        r->name);
    e = entry_text(r, MANIFEST_BYTES_MAX, ret_text, ret_len, info);
    return e == ERR_OK ? entry_next(r, info) : e;
}

static enum err untrusted(struct err_info *info, const char *name, const char *why)
{
    return err_code(info, ERR_UNTRUSTED, "signature_untrusted", "%.64s: %.300s", name, why);
}

/* Keeps one signature entry. Its name must say whose it is. */
static enum err signature_take(struct reader *r, struct minisig_signature *ret_signature, struct err_info *info)
{
    struct bundle_signature kept = {0};
    char expected[sizeof kept.name];
    struct err_info why = {0};
    enum err e = entry_text(r, MINISIG_FILE_MAX, &kept.text, &kept.len, info);
    if (e != ERR_OK)
        return e;
    (void)text_copy(kept.name, sizeof kept.name, r->name);
    r->signatures[r->signature_count++] = kept; /* owned by r from here */
    struct bundle_signature *s = &r->signatures[r->signature_count - 1];
    if (minisig_parse(s->text, s->len, ret_signature, &why) != ERR_OK)
        return untrusted(info, r->name, why.text);
    minisig_id_text(ret_signature->id, s->id);
    (void)snprintf(expected, sizeof expected, MANIFEST_NAME ".%s.minisig", s->id);
    if (strcmp(expected, r->name) != 0)
        return untrusted(info, r->name, "the signature in it is of another key than its name says");
    for (size_t i = 0; i + 1 < r->signature_count; i++)
        if (strcmp(r->signatures[i].id, s->id) == 0)
            return untrusted(info, r->name, "the key has signed twice");
    return ERR_OK;
}

/* Verifies the signature just taken, or forgets it when its key is not trusted. */
static enum err signature_judge(struct reader *r, const struct trust *trust, const struct minisig_signature *signature,
                                const char *text, size_t len, struct err_info *info)
{
    if (trust == NULL)
        return ERR_OK;
    const struct minisig_public *key = trust_find(trust, signature->id);
    if (key == NULL) {
        free(r->signatures[--r->signature_count].text);
        return ERR_OK;
    }
    return minisig_verify(signature, key, text, len, info);
}

/* Takes all signatures over the manifest's text; the trusted ones remain in r. */
static enum err signatures_read(struct reader *r, const struct trust *trust, const char *text, size_t len,
                                struct err_info *info)
{
    size_t seen = 0;
    for (; text_starts(r->name, MANIFEST_NAME "."); seen++) {
        struct minisig_signature signature;
        enum err e = seen < BUNDLE_KEYS_MAX ? signature_take(r, &signature, info)
                                            : untrusted(info, r->name, "there are too many signatures");
        if (e == ERR_OK)
            e = signature_judge(r, trust, &signature, text, len, info);
        if (e == ERR_OK)
            e = entry_next(r, info);
        if (e != ERR_OK)
            return e;
    }
    if (trust == NULL || r->signature_count > 0)
        return ERR_OK;
    enum err e =
        err_code(info, ERR_UNTRUSTED, "signature_untrusted",
                 seen == 0 ? "the bundle is not signed" : "none of the bundle's signatures is of a trusted key");
    err_next(info,
             "Sign it with `musterctl bundle sign`, by a key whose public half is in the directory of trusted keys.");
    return e;
}

/* ---- payload ---- */

static enum err payload_bytes(struct reader *r, const struct bundle_sink *sink, char ret_sha256[SHA256_HEX],
                              struct err_info *info)
{
    cleanup_sha256 struct sha256 *hash = NULL;
    enum err e = sha256_new(&hash);
    while (e == ERR_OK) {
        la_ssize_t n = archive_read_data(r->archive, r->piece, sizeof r->piece);
        if (n == 0)
            break;
        if (n < 0)
            return malformed(r, info);
        e = sha256_add(hash, r->piece, (size_t)n);
        if (e == ERR_OK && sink->bytes != NULL)
            e = sink->bytes(sink->user, r->piece, (size_t)n, info);
    }
    return e == ERR_OK ? sha256_end(hash, ret_sha256) : e;
}

/* The present entry must be this one of the manifest. */
static enum err payload_read(struct reader *r, const struct manifest_payload *p, const struct bundle_sink *sink,
                             struct err_info *info)
{
    char expected[MANIFEST_PAYLOAD_NAME];
    char sha256[SHA256_HEX];
    manifest_payload_name(p, expected);
    if (r->entry == NULL)
        return refused(info, expected, "it is missing");
    if (strcmp(r->name, expected) != 0)
        return refused(info, r->name, "the manifest does not list it at this place");
    if (r->size != p->size)
        return err_code(info, ERR_CORRUPT, "payload_mismatch",
                        "entry \"%s\": it has %" PRId64 " bytes, the manifest says %" PRId64, r->name, r->size,
                        p->size);
    enum err e = sink->begin == NULL ? ERR_OK : sink->begin(sink->user, p, info);
    if (e == ERR_OK)
        e = payload_bytes(r, sink, sha256, info);
    if (e == ERR_OK && strcmp(sha256, p->sha256) != 0)
        e = refused(info, r->name, "its content is not what the manifest says (SHA-256 differs)");
    if (e == ERR_OK && sink->end != NULL)
        e = sink->end(sink->user, p, info);
    return e == ERR_OK ? entry_next(r, info) : e;
}

static enum err payloads_read(struct reader *r, const struct manifest *m, const struct bundle_sink *sink,
                              struct err_info *info)
{
    enum err e = sink->head == NULL ? ERR_OK : sink->head(sink->user, m, r->signatures, r->signature_count, info);
    for (size_t i = 0; e == ERR_OK && i < m->payload_count; i++)
        e = payload_read(r, &m->payload[i], sink, info);
    if (e == ERR_OK && r->entry != NULL)
        e = refused(info, r->name, "the manifest does not list it at this place");
    return e == ERR_OK ? rest_check(r, info) : e;
}

enum err bundle_read(int fd, const struct trust *trust, const struct bundle_sink *sink, struct manifest **ret_manifest,
                     struct bundle_keys *ret_keys, struct err_info *info)
{
    [[gnu::cleanup(cleanup_reader_p)]] struct reader *r = calloc(1, sizeof *r);
    cleanup_free char *text = NULL;
    cleanup_manifest struct manifest *m = NULL;
    size_t len = 0;
    if (r == NULL)
        return ERR_NO_MEMORY;
    enum err e = reader_open(r, fd, info);
    if (e == ERR_OK)
        e = manifest_read(r, &text, &len, info);
    if (e == ERR_OK)
        e = signatures_read(r, trust, text, len, info);
    if (e == ERR_OK)
        e = manifest_parse(text, len, &m, info);
    if (e == ERR_OK)
        e = payloads_read(r, m, sink, info);
    if (e != ERR_OK)
        return e;
    if (ret_keys != NULL) {
        ret_keys->count = r->signature_count;
        for (size_t i = 0; i < r->signature_count; i++)
            memcpy(ret_keys->ids[i], r->signatures[i].id, MINISIG_ID_TEXT);
    }
    *ret_manifest = m;
    m = NULL;
    return ERR_OK;
}
