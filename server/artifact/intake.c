#include "server/artifact/intake.h"

#include "common/base/cleanup.h"
#include "common/base/crypt.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "server/store/audit.h"
#include "server/store/event.h"
#include "server/store/object.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A bundle file that was verified. */
struct verified {
    const struct intake_request *request;
    const struct manifest *manifest;
    const struct bundle_keys *keys;
    const char *object_sha256;
    int64_t size;
};

/* The event and the audit row. */
static enum err verified_tell(struct db *db, const struct verified *v, struct err_info *info)
{
    const struct manifest *m = v->manifest;
    char target[sizeof "bundle:" + SHA256_HEX];
    (void)snprintf(target, sizeof target, "bundle:%s", m->id);
    json_auto_t *data = json_pack("{s:s, s:s, s:s, s:s, s:o}", "bundle", m->id, "slot", m->slot, "version", m->version,
                                  "kind", manifest_kind_name(m->kind), "size", json_id(v->size));
    if (data == NULL)
        return ERR_NO_MEMORY;
    const struct event_entry event = {.kind = "bundle.uploaded", .actor = v->request->actor, .data = data};
    enum err e = event_add(db, &event, info);
    if (e != ERR_OK)
        return e;
    const struct audit_entry entry = {
        .actor = v->request->actor,
        .action = "bundle.upload",
        .target = target,
        .address = v->request->address,
        .request_id = v->request->request_id,
        .after = data,
    };
    return audit_add(db, &entry, info);
}

/* When its object is there. */
static enum err verified_record(struct db *db, const struct verified *v, struct err_info *info)
{
    const struct bundle_row row = {
        .manifest = v->manifest,
        .object_sha256 = v->object_sha256,
        .keys = v->keys,
        .uploaded_by = v->request->actor,
    };
    enum err e = bundle_add(db, &row, info);
    return e == ERR_OK ? verified_tell(db, v, info) : e;
}

/* ---- in one request */

struct intake {
    struct verified verified;
    char object_sha256[SHA256_HEX];
    bool created;
};

static enum err upload_rewind(int fd, struct err_info *info)
{
    return lseek(fd, 0, SEEK_SET) == 0 ? ERR_OK
                                       : err_set(info, err_from_errno(errno), "the upload cannot be read back");
}

static enum err intake_work(struct db *db, void *arg, struct err_info *info)
{
    struct intake *in = arg;
    bool present = false;
    in->created = false;
    enum err e = bundle_present(db, in->verified.manifest, &present, info);
    if (e != ERR_OK || present)
        return e;
    e = object_add(db, in->object_sha256, in->verified.request->fd, in->verified.size, info);
    if (e == ERR_OK)
        e = verified_record(db, &in->verified, info);
    if (e == ERR_OK)
        in->created = true;
    return e;
}

enum err intake_bundle(struct db *db, const struct intake_request *request, char ret_id[BUNDLE_ID_SIZE],
                       bool *ret_created, struct err_info *info)
{
    cleanup_manifest struct manifest *manifest = NULL;
    struct bundle_keys keys = {0};
    enum err e = upload_rewind(request->fd, info);
    if (e == ERR_OK)
        e = bundle_verify(request->fd, request->trust, &manifest, &keys, info);
    if (e == ERR_OK)
        e = upload_rewind(request->fd, info);
    if (e != ERR_OK)
        return e;
    struct intake in = {.verified = {.request = request, .manifest = manifest, .keys = &keys}};
    in.verified.object_sha256 = in.object_sha256;
    e = sha256_fd(request->fd, in.object_sha256, &in.verified.size);
    if (e == ERR_OK)
        e = db_transaction(db, intake_work, &in, info);
    if (e != ERR_OK)
        return e;
    memcpy(ret_id, manifest->id, BUNDLE_ID_SIZE);
    *ret_created = in.created;
    return ERR_OK;
}

/* ---- in parts */

struct taking {
    const struct intake_request *request;
    const struct intake_part *part;
    struct checkers *checkers;
    struct checker *checker; /* owned */
    struct upload_row upload;
    struct intake_progress progress;
    bool refused; /* the bytes are wrong: the upload is to end */
};

/* Everything that is kept and not yet seen by the check, out of the database. */
static enum err check_catch_up(struct db *db, struct taking *t, struct err_info *info)
{
    enum err e = ERR_OK;
    while (e == ERR_OK && checker_fed(t->checker) < t->upload.received) {
        cleanup_free void *chunk = NULL;
        size_t len = 0;
        e = blob_chunk_read(db, t->upload.bytes.blob, checker_fed(t->checker) / OBJECT_CHUNK_SIZE, &chunk, &len, info);
        if (e == ERR_NOT_FOUND)
            return err_set(info, ERR_INTERNAL, "an upload lacks a chunk");
        if (e == ERR_OK)
            e = checker_feed(t->checker, chunk, len, info);
    }
    return e;
}

/* The check of this upload, at exactly what is kept. A check that has seen more belongs to a transaction that failed:
 * what it saw is not what is kept. */
static enum err check_prepare(struct db *db, struct taking *t, struct err_info *info)
{
    checker_free(t->checker);
    t->checker = checkers_take(t->checkers, t->upload.id);
    if (t->checker != NULL && checker_fed(t->checker) <= t->upload.received)
        return check_catch_up(db, t, info);
    checker_free(t->checker);
    t->checker = NULL;
    enum err e = checker_new(t->request->trust, &t->checker, info);
    return e == ERR_OK ? check_catch_up(db, t, info) : e;
}

/* len bytes of the part's file from offset through the check. */
static enum err check_bytes(struct taking *t, int64_t offset, int64_t len, struct err_info *info)
{
    cleanup_free char *piece = malloc(OBJECT_CHUNK_SIZE);
    enum err e = piece == NULL ? ERR_NO_MEMORY : ERR_OK;
    for (int64_t at = 0; e == ERR_OK && at < len;) {
        size_t want = len - at < OBJECT_CHUNK_SIZE ? (size_t)(len - at) : OBJECT_CHUNK_SIZE;
        ssize_t n = pread(t->request->fd, piece, want, offset + at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_set(info, n < 0 ? err_from_errno(errno) : ERR_IO, "the upload cannot be read back");
        e = checker_feed(t->checker, piece, (size_t)n, info);
        at += n;
    }
    return e;
}

/* What of the part is new and can be kept: whole chunks, or all up to the end of the file. ret_len may be 0. */
static enum err part_cut(const struct taking *t, int64_t *ret_offset, int64_t *ret_len, struct err_info *info)
{
    const struct intake_part *p = t->part;
    int64_t received = t->upload.received;
    if (p->first > received) {
        enum err e = err_code(info, ERR_CONFLICT, "upload_out_of_order",
                              "the next part begins at byte %" PRId64 ", not %" PRId64, received, p->first);
        err_next(info, "Ask GET /api/v1/uploads/{sha256} for `received` and go on from there.");
        return e;
    }
    int64_t end = p->last + 1 == p->size ? p->size : (p->last + 1) / OBJECT_CHUNK_SIZE * OBJECT_CHUNK_SIZE;
    *ret_offset = received - p->first;
    *ret_len = end > received ? end - received : 0;
    return ERR_OK;
}

static enum err digest_check(const struct taking *t, const char *found, struct err_info *info)
{
    if (text_eq(found, t->part->sha256))
        return ERR_OK;
    enum err e =
        err_code(info, ERR_CORRUPT, "upload_digest_mismatch",
                 "what has come has the SHA-256 %.16s…, the upload was begun for %.16s…", found, t->part->sha256);
    err_next(info, "The file has changed, or the parts are of different files: begin again.");
    return e;
}

/* All has come and was verified: the blob becomes an object, the upload a bundle. */
static enum err complete_work(struct db *db, struct taking *t, const struct verified *v, struct err_info *info)
{
    bool present = false;
    bool added = false;
    enum err e = bundle_present(db, v->manifest, &present, info);
    if (e == ERR_OK && !present)
        e = object_adopt(db, t->part->sha256, &t->upload.bytes, &added, info);
    if (e == ERR_OK && !present)
        e = verified_record(db, v, info);
    if (e == ERR_OK)
        e = upload_close(db, &t->upload, added, info);
    if (e != ERR_OK)
        return e;
    t->progress.complete = true;
    t->progress.created = !present;
    (void)text_copy(t->progress.id, sizeof t->progress.id, v->manifest->id);
    return ERR_OK;
}

static bool is_verdict(enum err e)
{
    return e == ERR_UNTRUSTED || e == ERR_CORRUPT || e == ERR_INVALID || e == ERR_UNSUPPORTED || e == ERR_CONFLICT;
}

static enum err part_complete(struct db *db, struct taking *t, struct err_info *info)
{
    cleanup_manifest struct manifest *manifest = NULL;
    struct bundle_keys keys = {0};
    char found[SHA256_HEX];
    enum err e = checker_end(t->checker, found, &manifest, &keys, info);
    if (e == ERR_OK)
        e = digest_check(t, found, info);
    const struct verified v = {.request = t->request,
                               .manifest = manifest,
                               .keys = &keys,
                               .object_sha256 = t->part->sha256,
                               .size = t->part->size};
    if (e == ERR_OK)
        e = complete_work(db, t, &v, info);
    t->refused = is_verdict(e);
    return e;
}

/* The upload's row is locked all the while: parts of one upload are taken one after the other, whoever sends them. */
static enum err part_work(struct db *db, void *arg, struct err_info *info)
{
    struct taking *t = arg;
    int64_t offset = 0;
    int64_t len = 0;
    t->progress = (struct intake_progress){0};
    t->refused = false;
    enum err e = upload_open(db, t->request->actor, t->part->sha256, t->part->size, &t->part->limits, &t->upload, info);
    if (e == ERR_OK)
        e = part_cut(t, &offset, &len, info);
    if (e != ERR_OK || len == 0)
        return e;
    e = check_prepare(db, t, info);
    if (e == ERR_OK)
        e = check_bytes(t, offset, len, info);
    t->refused = is_verdict(e);
    if (e == ERR_OK)
        e = upload_add(db, &t->upload, t->request->fd, offset, len, info);
    return e == ERR_OK && t->upload.received == t->part->size ? part_complete(db, t, info) : e;
}

struct forgetting {
    const char *owner, *sha256;
};

static enum err forget_work(struct db *db, void *arg, struct err_info *info)
{
    const struct forgetting *f = arg;
    bool found = false;
    return upload_forget(db, f->owner, f->sha256, &found, info);
}

enum err intake_part(struct db *db, struct checkers *checkers, const struct intake_request *request,
                     const struct intake_part *part, struct intake_progress *ret_progress, struct err_info *info)
{
    struct taking t = {.request = request, .part = part, .checkers = checkers};
    enum err e = db_transaction(db, part_work, &t, info);
    if (e == ERR_OK && !t.progress.complete && t.checker != NULL)
        checkers_put(checkers, t.upload.id, t.checker);
    else
        checker_free(t.checker);
    if (e == ERR_OK) {
        *ret_progress = t.progress;
        return ERR_OK;
    }
    struct err_info why = {0};
    struct forgetting f = {.owner = request->actor, .sha256 = part->sha256};
    if (t.refused && db_transaction(db, forget_work, &f, &why) != ERR_OK)
        log_warn("upload_kept", "sha256=%s text=\"%s\": it goes when it expires", part->sha256, why.text);
    return e;
}
