#include "server/artifact/intake.h"

#include "common/base/crypt.h"
#include "common/bundle/bundle.h"
#include "server/store/audit.h"
#include "server/store/event.h"
#include "server/store/object.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What is known of the upload before the transaction, and what the transaction finds out. */
struct intake {
    const struct intake_request *request;
    const struct manifest *manifest;
    const struct bundle_keys *keys;
    char object_sha256[SHA256_HEX];
    int64_t size;
    bool created;
};

static enum err upload_rewind(int fd, struct err_info *info)
{
    return lseek(fd, 0, SEEK_SET) == 0 ? ERR_OK
                                       : err_set(info, err_from_errno(errno), "the upload cannot be read back");
}

static enum err intake_record(struct db *db, const struct intake *in, struct err_info *info)
{
    const struct manifest *m = in->manifest;
    char target[sizeof "bundle:" + SHA256_HEX];
    (void)snprintf(target, sizeof target, "bundle:%s", m->id);
    json_auto_t *data = json_pack("{s:s, s:s, s:s, s:s, s:o}", "bundle", m->id, "slot", m->slot, "version", m->version,
                                  "kind", manifest_kind_name(m->kind), "size", json_id(in->size));
    if (data == NULL)
        return ERR_NO_MEMORY;
    enum err e = event_add(
        db, &(struct event_entry){.kind = "bundle.uploaded", .actor = in->request->actor, .data = data}, info);
    if (e != ERR_OK)
        return e;
    const struct audit_entry entry = {
        .actor = in->request->actor,
        .action = "bundle.upload",
        .target = target,
        .address = in->request->address,
        .request_id = in->request->request_id,
        .after = data,
    };
    return audit_add(db, &entry, info);
}

static enum err intake_work(struct db *db, void *arg, struct err_info *info)
{
    struct intake *in = arg;
    bool present = false;
    in->created = false;
    enum err e = bundle_present(db, in->manifest, &present, info);
    if (e != ERR_OK || present)
        return e;
    e = object_add(db, in->object_sha256, in->request->fd, in->size, info);
    if (e != ERR_OK)
        return e;
    const struct bundle_row row = {
        .manifest = in->manifest,
        .object_sha256 = in->object_sha256,
        .keys = in->keys,
        .uploaded_by = in->request->actor,
    };
    e = bundle_add(db, &row, info);
    if (e == ERR_OK)
        e = intake_record(db, in, info);
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
    struct intake in = {.request = request, .manifest = manifest, .keys = &keys};
    e = sha256_fd(request->fd, in.object_sha256, &in.size);
    if (e == ERR_OK)
        e = db_transaction(db, intake_work, &in, info);
    if (e != ERR_OK)
        return e;
    memcpy(ret_id, manifest->id, BUNDLE_ID_SIZE);
    *ret_created = in.created;
    return ERR_OK;
}
