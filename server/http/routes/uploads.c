/* A bundle file in parts, each verified and kept as it comes (server/artifact/intake.h). */
#include "common/base/cleanup.h"
#include "common/base/text.h"
#include "server/artifact/intake.h"
#include "server/http/header.h"
#include "server/http/routes/routes.h"
#include "server/server.h"
#include "server/store/bundle.h"
#include "server/store/upload.h"

#include <inttypes.h>

enum { UPLOADS_OF_ONE = 16, MIB = 1024 * 1024 };

static enum err digest_take(struct call *c, const char **ret_sha256)
{
    *ret_sha256 = call_path(c, "sha256");
    return text_is_sha256(*ret_sha256) ? ERR_OK
                                       : err_field(&c->info, ERR_INVALID, "sha256",
                                                   "the SHA-256 of the file is expected, 64 lower-case hex digits");
}

static enum err upload_answer(struct call *c, unsigned status, const char *sha256)
{
    cleanup_free char *json = NULL;
    enum err e = upload_show(c->db, c->actor, sha256, &json, &c->info);
    return e == ERR_OK ? call_answer_text(c, status, json) : e;
}

static enum err bundle_answer(struct call *c, unsigned status, const char *id)
{
    cleanup_free char *json = NULL;
    enum err e = bundle_get(c->db, id, &json, &c->info);
    return e == ERR_OK ? call_answer_text(c, status, json) : e;
}

static enum err range_refused(struct call *c, const char *what)
{
    enum err e = err_field(&c->info, ERR_INVALID, "Content-Range", "%s", what);
    (void)text_copy(c->info.code, sizeof c->info.code, "content_range_invalid");
    err_next(&c->info, "Send `Content-Range: bytes FIRST-LAST/SIZE` with exactly these bytes, or the whole file "
                       "without it.");
    return e;
}

/* Which bytes the body is. */
static enum err part_read(struct call *c, struct intake_part *part)
{
    const char *range = call_header(c, "Content-Range");
    if (c->upload_fd < 0 || c->upload_size == 0)
        return err_code(&c->info, ERR_INVALID, "body_empty", "the request has no body");
    part->last = c->upload_size - 1;
    part->size = c->upload_size;
    if (range != NULL && !header_content_range(range, &part->first, &part->last, &part->size))
        return range_refused(c, "this is not a range of a file");
    if (part->last - part->first + 1 != c->upload_size)
        return range_refused(c, "the body has another length than the range");
    int64_t max = conf_int(c->server->conf, "max_bundle_mb") * MIB;
    return part->size <= max ? ERR_OK
                             : err_code(&c->info, ERR_TOO_LARGE, "body_too_large",
                                        "the file is over the limit of %" PRId64 " bytes", max);
}

static enum err part_take(struct call *c, const struct intake_part *part)
{
    const struct intake_request request = {
        .fd = c->upload_fd,
        .trust = c->server->trust,
        .actor = c->actor,
        .address = c->address,
        .request_id = c->request_id,
    };
    struct intake_progress progress = {0};
    enum err e = intake_part(c->db, c->server->checkers, &request, part, &progress, &c->info);
    if (e != ERR_OK)
        return e;
    return progress.complete ? bundle_answer(c, progress.created ? 201 : 200, progress.id)
                             : upload_answer(c, 202, part->sha256);
}

static enum err handle_put(struct call *c)
{
    char id[BUNDLE_ID_SIZE];
    struct intake_part part = {
        .limits = {.count_of_owner = UPLOADS_OF_ONE, .bytes = conf_int(c->server->conf, "max_uploads_mb") * MIB}};
    enum err e = digest_take(c, &part.sha256);
    if (e == ERR_OK)
        e = part_read(c, &part);
    if (e != ERR_OK)
        return e;
    e = upload_bundle_find(c->db, part.sha256, id, &c->info);
    if (e == ERR_OK)
        return bundle_answer(c, 200, id);
    return e == ERR_NOT_FOUND ? part_take(c, &part) : e;
}

static enum err handle_show(struct call *c)
{
    const char *sha256 = NULL;
    enum err e = digest_take(c, &sha256);
    return e == ERR_OK ? upload_answer(c, 200, sha256) : e;
}

/* ---- giving up */

struct giving_up {
    struct call *call;
    const char *sha256;
    bool found;
};

static enum err delete_work(struct db *db, void *arg, struct err_info *info)
{
    struct giving_up *g = arg;
    enum err e = upload_forget(db, g->call->actor, g->sha256, &g->found, info);
    if (e != ERR_OK || !g->found)
        return e;
    char target[sizeof "upload:" + 64];
    (void)snprintf(target, sizeof target, "upload:%s", g->sha256);
    return call_audit(g->call, db, "upload.delete", target, NULL, NULL, info);
}

static enum err handle_delete(struct call *c)
{
    struct giving_up g = {.call = c};
    enum err e = digest_take(c, &g.sha256);
    if (e == ERR_OK)
        e = db_transaction(c->db, delete_work, &g, &c->info);
    if (e != ERR_OK)
        return e;
    return g.found
               ? call_answer_empty(c, 204)
               : err_code(&c->info, ERR_NOT_FOUND, "upload_not_found", "you have no upload of a file with this digest");
}

static const struct route routes[] = {
    {"GET", "/api/v1/uploads/{sha256}", PERMIT_BUNDLE_WRITE, BODY_NONE, handle_show},
    {"PUT", "/api/v1/uploads/{sha256}", PERMIT_BUNDLE_WRITE, BODY_PART, handle_put},
    {"DELETE", "/api/v1/uploads/{sha256}", PERMIT_BUNDLE_WRITE, BODY_NONE, handle_delete},
};
const struct route_table routes_uploads = {routes, sizeof routes / sizeof routes[0]};
