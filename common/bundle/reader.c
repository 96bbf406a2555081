#include "common/bundle/reader.h"

#include "common/base/cleanup.h"
#include "common/base/text.h"
#include "common/bundle/inflate.h"
#include "common/bundle/tar.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a delta may be larger than the file it makes. */
#define DELTA_EXTRA ((int64_t)64 * 1024)

struct reader {
    struct tar *tar;
    size_t signature_count;
    struct bundle_signature signatures[BUNDLE_KEYS_MAX];
    size_t key_count;
    const struct minisig_public *keys[BUNDLE_KEYS_MAX]; /* different ones that have signed, of the trust */
};

static void cleanup_reader(struct reader *r)
{
    for (size_t i = 0; i < r->signature_count; i++)
        free(r->signatures[i].text);
    (void)tar_free(r->tar);
}

/* ---- manifest and signatures ---- */

static enum err manifest_read(struct reader *r, char **ret_text, size_t *ret_len, struct err_info *info)
{
    char why[160];
    enum err e = tar_next(r->tar, info);
    if (e != ERR_OK)
        return e;
    const char *name = tar_name(r->tar);
    if (name == NULL)
        return tar_no_bundle(info, "there is nothing in it");
    if (!text_eq(name, MANIFEST_NAME)) {
        (void)snprintf(why, sizeof why, "its first entry is \"%.100s\", not " MANIFEST_NAME, name);
        return tar_no_bundle(info, why);
    }
    e = tar_text(r->tar, MANIFEST_BYTES_MAX, ret_text, ret_len, info);
    return e == ERR_OK ? tar_next(r->tar, info) : e;
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
    enum err e = tar_text(r->tar, MINISIG_FILE_MAX, &kept.text, &kept.len, info);
    if (e != ERR_OK)
        return e;
    (void)text_copy(kept.name, sizeof kept.name, tar_name(r->tar));
    r->signatures[r->signature_count++] = kept; /* owned by r from here */
    struct bundle_signature *s = &r->signatures[r->signature_count - 1];
    if (minisig_parse(s->text, s->len, ret_signature, &why) != ERR_OK)
        return untrusted(info, tar_name(r->tar), why.text);
    minisig_id_text(ret_signature->id, s->id);
    (void)snprintf(expected, sizeof expected, MANIFEST_NAME ".%s.minisig", s->id);
    if (strcmp(expected, tar_name(r->tar)) != 0)
        return untrusted(info, tar_name(r->tar), "the signature in it is of another key than its name says");
    for (size_t i = 0; i + 1 < r->signature_count; i++)
        if (strcmp(r->signatures[i].id, s->id) == 0)
            return untrusted(info, tar_name(r->tar), "the key has signed twice");
    return ERR_OK;
}

/* The key has signed already, maybe under another id: ids are chosen by whoever makes a key file. */
static bool key_counted(const struct reader *r, const struct minisig_public *key)
{
    for (size_t i = 0; i < r->key_count; i++)
        if (memcmp(r->keys[i]->key, key->key, sizeof key->key) == 0)
            return true;
    return false;
}

/* Verifies the signature just taken; forgets it when its key is not trusted, or counted already. */
static enum err signature_judge(struct reader *r, const struct trust *trust, const struct minisig_signature *signature,
                                const char *text, size_t len, struct err_info *info)
{
    if (trust == NULL)
        return ERR_OK;
    const struct minisig_public *key = trust_find(trust, signature->id);
    enum err e = key == NULL ? ERR_OK : minisig_verify(signature, key, text, len, info);
    if (e != ERR_OK)
        return e;
    if (key == NULL || key_counted(r, key))
        free(r->signatures[--r->signature_count].text);
    else
        r->keys[r->key_count++] = key;
    return ERR_OK;
}

/* Different trusted keys must have signed, as many as are required. */
static enum err threshold_check(const struct reader *r, const struct trust *trust, size_t seen, struct err_info *info)
{
    size_t required = trust->required == 0 ? 1 : trust->required;
    enum err e = ERR_OK;
    if (r->key_count >= required)
        return ERR_OK;
    if (required > 1)
        e = err_code(info, ERR_UNTRUSTED, "signature_untrusted",
                     "%zu different trusted keys must sign the bundle, %zu did: %zu missing", required, r->key_count,
                     required - r->key_count);
    else
        e = err_code(info, ERR_UNTRUSTED, "signature_untrusted",
                     seen == 0 ? "the bundle is not signed" : "none of the bundle's signatures is of a trusted key");
    err_next(info,
             "Sign it with `musterctl bundle sign`, by a key whose public half is in the directory of trusted keys.");
    return e;
}

/* Takes all signatures over the manifest's text; those that count remain in r. */
static enum err signatures_read(struct reader *r, const struct trust *trust, const char *text, size_t len,
                                struct err_info *info)
{
    size_t seen = 0;
    for (const char *name = tar_name(r->tar); name != NULL && text_starts(name, MANIFEST_NAME ".");
         name = tar_name(r->tar), seen++) {
        struct minisig_signature signature;
        enum err e = seen < BUNDLE_KEYS_MAX ? signature_take(r, &signature, info)
                                            : untrusted(info, name, "there are too many signatures");
        if (e == ERR_OK)
            e = signature_judge(r, trust, &signature, text, len, info);
        if (e == ERR_OK)
            e = tar_next(r->tar, info);
        if (e != ERR_OK)
            return e;
    }
    return trust == NULL ? ERR_OK : threshold_check(r, trust, seen, info);
}

/* ---- payload ---- */

/* One entry on its way: digests of it, and of the file that comes out of it. */
struct flow {
    const struct bundle_sink *sink;
    struct sha256 *entry_hash, *file_hash; /* file_hash: only for a compressed entry */
    struct inflate *inflate;               /* the same */
};

static void cleanup_flow(struct flow *flow)
{
    sha256_free(flow->entry_hash);
    sha256_free(flow->file_hash);
    (void)inflate_free(flow->inflate);
}

static enum err flow_file(void *user, const void *bytes, size_t len, struct err_info *info)
{
    struct flow *flow = user;
    enum err e = flow->file_hash == NULL ? ERR_OK : sha256_add(flow->file_hash, bytes, len);
    if (e == ERR_OK && flow->sink->bytes != NULL)
        e = flow->sink->bytes(flow->sink->user, bytes, len, info);
    return e;
}

static enum err flow_start(struct flow *flow, const struct bundle_item *item)
{
    if (item->form != BUNDLE_FULL)
        return ERR_OK;
    enum err e = sha256_new(&flow->entry_hash);
    if (e == ERR_OK && item->payload->encoding == MANIFEST_ZSTD)
        e = sha256_new(&flow->file_hash);
    if (e == ERR_OK && item->payload->encoding == MANIFEST_ZSTD)
        e = inflate_new(item->file->size, flow_file, flow, &flow->inflate);
    return e;
}

static enum err flow_add(struct flow *flow, const void *bytes, size_t len, struct err_info *info)
{
    enum err e = flow->sink->raw == NULL ? ERR_OK : flow->sink->raw(flow->sink->user, bytes, len, info);
    if (e != ERR_OK || flow->entry_hash == NULL)
        return e;
    e = sha256_add(flow->entry_hash, bytes, len);
    if (e != ERR_OK)
        return e;
    return flow->inflate == NULL ? flow_file(flow, bytes, len, info) : inflate_add(flow->inflate, bytes, len, info);
}

static enum err digest_check(struct sha256 *hash, const char *expected, const char *name, struct err_info *info)
{
    char sha256[SHA256_HEX];
    enum err e = hash == NULL ? ERR_OK : sha256_end(hash, sha256);
    if (hash == NULL || e != ERR_OK || strcmp(sha256, expected) == 0)
        return e;
    return tar_refused(info, name, "its content is not what the manifest says (SHA-256 differs)");
}

static enum err item_bytes(struct reader *r, const struct bundle_item *item, const struct bundle_sink *sink,
                           struct err_info *info)
{
    [[gnu::cleanup(cleanup_flow)]] struct flow flow = {.sink = sink};
    const void *bytes = NULL;
    size_t len = 1;
    enum err e = flow_start(&flow, item);
    while (e == ERR_OK && len > 0) {
        e = tar_piece(r->tar, &bytes, &len, info);
        if (e == ERR_OK && len > 0)
            e = flow_add(&flow, bytes, len, info);
    }
    if (e == ERR_OK)
        e = digest_check(flow.entry_hash, item->payload->sha256, tar_name(r->tar), info);
    if (e == ERR_OK && flow.inflate != NULL)
        e = inflate_end(flow.inflate, info);
    return e == ERR_OK ? digest_check(flow.file_hash, item->payload->file, tar_name(r->tar), info) : e;
}

/* Which of its three names the entry has. */
static enum err form_of(const char *name, const struct manifest_payload *p, enum bundle_form *ret_form,
                        struct err_info *info)
{
    char full[MANIFEST_PAYLOAD_NAME];
    manifest_payload_name(p, full);
    if (name == NULL)
        return tar_refused(info, full, "it is missing");
    if (strcmp(name, full) == 0)
        *ret_form = BUNDLE_FULL;
    else if (text_starts(name, "same/") && strcmp(name + strlen("same/"), p->file) == 0)
        *ret_form = BUNDLE_SAME;
    else if (text_starts(name, "delta/") && strcmp(name + strlen("delta/"), p->file) == 0)
        *ret_form = BUNDLE_DELTA;
    else
        return tar_refused(info, name, "the manifest does not list it at this place");
    return ERR_OK;
}

static enum err size_check(const struct bundle_item *item, const char *name, struct err_info *info)
{
    int64_t least = item->form == BUNDLE_FULL ? item->payload->size : item->form == BUNDLE_DELTA ? 1 : 0;
    int64_t most = item->form == BUNDLE_DELTA ? item->file->size + DELTA_EXTRA : least;
    if (item->size >= least && item->size <= most)
        return ERR_OK;
    if (item->form == BUNDLE_FULL)
        return err_code(info, ERR_CORRUPT, "payload_mismatch",
                        "entry \"%.100s\": it has %" PRId64 " bytes, the manifest says %" PRId64, name, item->size,
                        least);
    return err_code(info, ERR_CORRUPT, "payload_mismatch",
                    "entry \"%.100s\": it has %" PRId64 " bytes, which cannot be for a file of %" PRId64, name,
                    item->size, item->file->size);
}

/* The present entry must be this one of the manifest. */
static enum err item_read(struct reader *r, const struct manifest *m, size_t index, const struct bundle_sink *sink,
                          struct err_info *info)
{
    const struct manifest_payload *p = &m->payload[index];
    struct bundle_item item = {.index = index,
                               .payload = p,
                               .file = manifest_payload_file(m, p),
                               .offset = tar_offset(r->tar),
                               .size = tar_size(r->tar)};
    enum err e = form_of(tar_name(r->tar), p, &item.form, info);
    if (e == ERR_OK)
        e = size_check(&item, tar_name(r->tar), info);
    if (e == ERR_OK && item.form != BUNDLE_FULL && !sink->deltas) {
        e = err_code(info, ERR_CONFLICT, "bundle_is_delta",
                     "this is a delta bundle, which is of use only together with an older version's files");
        err_next(info, "Use the full bundle that it was made from.");
    }
    if (e == ERR_OK && sink->begin != NULL)
        e = sink->begin(sink->user, &item, info);
    if (e == ERR_OK && !sink->unread)
        e = item_bytes(r, &item, sink, info);
    if (e == ERR_OK && sink->end != NULL)
        e = sink->end(sink->user, &item, info);
    return e == ERR_OK ? tar_next(r->tar, info) : e;
}

static enum err payload_read(struct reader *r, const struct manifest *m, const struct bundle_sink *sink,
                             struct err_info *info)
{
    enum err e = sink->head == NULL ? ERR_OK : sink->head(sink->user, m, r->signatures, r->signature_count, info);
    for (size_t i = 0; e == ERR_OK && i < m->payload_count; i++)
        e = item_read(r, m, i, sink, info);
    if (e == ERR_OK && tar_name(r->tar) != NULL)
        e = tar_refused(info, tar_name(r->tar), "the manifest does not list it at this place");
    return e == ERR_OK ? tar_rest(r->tar, info) : e;
}

enum err bundle_read(int fd, const struct trust *trust, const struct bundle_sink *sink, struct manifest **ret_manifest,
                     struct bundle_keys *ret_keys, struct err_info *info)
{
    [[gnu::cleanup(cleanup_reader)]] struct reader r = {0};
    cleanup_free char *text = NULL;
    cleanup_manifest struct manifest *m = NULL;
    size_t len = 0;
    enum err e = tar_open(fd, &r.tar, info);
    if (e == ERR_OK)
        e = manifest_read(&r, &text, &len, info);
    if (e == ERR_OK)
        e = signatures_read(&r, trust, text, len, info);
    if (e == ERR_OK)
        e = manifest_parse(text, len, &m, info);
    if (e == ERR_OK)
        e = payload_read(&r, m, sink, info);
    if (e != ERR_OK)
        return e;
    if (ret_keys != NULL) {
        ret_keys->count = r.signature_count;
        for (size_t i = 0; i < r.signature_count; i++)
            memcpy(ret_keys->ids[i], r.signatures[i].id, MINISIG_ID_TEXT);
    }
    *ret_manifest = m;
    m = NULL;
    return ERR_OK;
}
