#include "server/http/call.h"

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "server/artifact/object_cache.h"
#include "server/http/broadcast.h"
#include "server/http/object_stream.h"
#include "server/http/request.h"
#include "server/server.h"
#include "server/store/audit.h"
#include "server/store/delta.h"
#include "server/store/object.h"

#include <inttypes.h>
#include <string.h>

struct call_private {
    struct request *request;
};

static struct request *request_of(const struct call *c)
{
    return c->private_->request;
}

const char *call_path(const struct call *c, const char *name)
{
    return route_match_get(&request_of(c)->match, name);
}

enum err call_path_id(struct call *c, const char *name, int64_t *ret_id)
{
    if (text_to_i64(call_path(c, name), 0, 999999999999999999, ret_id) == ERR_OK)
        return ERR_OK;
    return err_set(&c->info, ERR_NOT_FOUND, "there is nothing with this id; ids are numbers");
}

const char *call_query(const struct call *c, const char *name)
{
    return url_query_get(&request_of(c)->query, name);
}

enum err call_query_i64(struct call *c, const char *name, int64_t min, int64_t max, int64_t fallback,
                        int64_t *ret_value)
{
    const char *text = call_query(c, name);
    int64_t value = fallback;
    if (text != NULL && text_to_i64(text, min, max, &value) != ERR_OK)
        return err_field(&c->info, ERR_INVALID, name, "%s must be a whole number from %" PRId64 " to %" PRId64, name,
                         min, max);
    *ret_value = value;
    return ERR_OK;
}

enum err call_query_page(struct call *c, int64_t *ret_limit, int64_t *ret_before)
{
    enum err e = call_query_i64(c, "limit", 1, 500, 100, ret_limit);
    return e == ERR_OK ? call_query_i64(c, "before", 1, 999999999999999999, 0, ret_before) : e;
}

const char *call_header(const struct call *c, const char *name)
{
    return MHD_lookup_connection_value(request_of(c)->connection, MHD_HEADER_KIND, name);
}

const char *call_cookie(const struct call *c, const char *name)
{
    return MHD_lookup_connection_value(request_of(c)->connection, MHD_COOKIE_KIND, name);
}

enum err call_audit(const struct call *c, struct db *db, const char *action, const char *target, const json_t *before,
                    const json_t *after, struct err_info *info)
{
    const struct audit_entry entry = {.actor = c->actor,
                                      .action = action,
                                      .target = target,
                                      .address = c->address,
                                      .request_id = c->request_id,
                                      .before = before,
                                      .after = after};
    return audit_add(db, &entry, info);
}

/* Takes text. */
static enum err json_answer(struct call *c, unsigned status, char *text, size_t len)
{
    struct request *r = request_of(c);
    answer_clear(&r->answer);
    return answer_bytes(status, text, len, "application/json", &r->answer);
}

enum err call_answer_json(struct call *c, unsigned status, json_t *json)
{
    char *text = NULL;
    size_t len = 0;
    enum err e = json_print(json, &text, &len);
    json_decref(json);
    return e == ERR_OK ? json_answer(c, status, text, len) : e;
}

enum err call_answer_text(struct call *c, unsigned status, const char *json_text)
{
    char *copy = strdup(json_text);
    return copy == NULL ? ERR_NO_MEMORY : json_answer(c, status, copy, strlen(copy));
}

enum err call_answer_empty(struct call *c, unsigned status)
{
    struct request *r = request_of(c);
    answer_clear(&r->answer);
    return answer_bytes(status, NULL, 0, NULL, &r->answer);
}

/* ---- objects */

static const char BYTES[] = "application/octet-stream";

struct streaming {
    struct request *request;
    const struct object_row *object;
};

static enum err stream_make(void *arg, int64_t first, int64_t last, struct MHD_Response **ret_response)
{
    const struct streaming *s = arg;
    return object_stream_new(s->request->port->http, s->request->connection, s->object, first, last, ret_response);
}

static enum err object_stream_answer(struct call *c, const char *sha256, const struct object_row *object)
{
    struct request *r = request_of(c);
    struct streaming s = {.request = r, .object = object};
    const struct answer_body body = {
        .make = stream_make, .arg = &s, .size = object->size, .content_type = BYTES, .etag = sha256};
    return answer_body(r->connection, &body, &r->answer, &c->info);
}

/* A delta that is damaged is made again; a bundle cannot be. */
static void damaged_discard(const struct call *c, const char *sha256)
{
    struct err_info info = {0};
    bool found = false;
    enum err e = delta_discard(c->db, sha256, &found, &info);
    if (e != ERR_OK)
        log_warn("delta_not_discarded", "sha256=%s text=\"%s\"", sha256, info.text);
    else if (found)
        log_warn("delta_discarded", "sha256=%s: it will be made again", sha256);
}

enum err call_answer_object(struct call *c, const char *sha256)
{
    struct request *r = request_of(c);
    struct object_row object = {0};
    struct err_info why = {0};
    int fd = -1;
    answer_clear(&r->answer);
    enum err e = object_find(c->db, sha256, &object, &c->info);
    if (e != ERR_OK)
        return e;
    e = object_cache_open(c->server->objects, c->db, sha256, &object, &fd, &r->object, &why);
    if (e == ERR_OK)
        return answer_file(r->connection, fd, object.size, BYTES, sha256, &r->answer, &c->info);
    if (e != ERR_NO_SPACE && e != ERR_IO) {
        if (text_eq(why.code, "object_damaged"))
            damaged_discard(c, sha256);
        c->info = why;
        return e;
    }
    log_warn("object_not_cached", "sha256=%s size=%" PRId64 " error=%s text=\"%s\"", sha256, object.size, err_name(e),
             why.text);
    return object_stream_answer(c, sha256, &object);
}

enum err call_answer_stream(struct call *c)
{
    struct request *r = request_of(c);
    cleanup_answer struct answer a = {.status = MHD_HTTP_OK, .size = -1};
    enum err e = broadcast_listen(c->server->broadcast, r->connection, &r->credential, &a.response, &c->info);
    if (e == ERR_OK)
        e = answer_header(&a, MHD_HTTP_HEADER_CONTENT_TYPE, "text/event-stream");
    if (e != ERR_OK)
        return e;
    answer_clear(&r->answer);
    r->answer = a;
    a.response = NULL;
    return ERR_OK;
}

enum err call_answer_header(struct call *c, const char *name, const char *value)
{
    struct request *r = request_of(c);
    if (r->header_count == EXTRA_HEADERS_MAX)
        return ERR_INTERNAL;
    char *name_copy = strdup(name);
    char *value_copy = strdup(value);
    if (name_copy == NULL || value_copy == NULL) {
        free(name_copy);
        free(value_copy);
        return ERR_NO_MEMORY;
    }
    r->headers[r->header_count].name = name_copy;
    r->headers[r->header_count++].value = value_copy;
    return ERR_OK;
}

static enum err body_parse(struct request *r, json_t **ret_body, struct err_info *info)
{
    if (r->match.route->body != BODY_JSON)
        return ERR_OK;
    return json_parse(r->body.data == NULL ? "" : r->body.data, r->body.len, JSON_BYTES_MAX, ret_body, info);
}

void call_run(struct request *r, struct db *db)
{
    json_auto_t *body = NULL;
    struct call_private private = {.request = r};
    struct call c = {.server = r->port->http->server,
                     .db = db,
                     .actor = r->identity.actor,
                     .grant = r->identity.grant,
                     .device_id = r->identified && r->port->is_device ? r->peer.device_id : NULL,
                     .address = r->address,
                     .request_id = r->id,
                     .upload_fd = r->upload_fd,
                     .upload_size = r->upload_fd >= 0 ? r->body_size : 0,
                     .info = {.offset = -1},
                     .private_ = &private};
    enum err e = body_parse(r, &body, &c.info);
    c.body = body;
    if (e == ERR_OK && r->upload_fd >= 0 && lseek(r->upload_fd, 0, SEEK_SET) != 0)
        e = err_set(&c.info, ERR_IO, "cannot rewind an upload");
    if (e == ERR_OK)
        e = r->match.route->handle(&c);
    if (e == ERR_OK && r->answer.response == NULL)
        e = err_set(&c.info, ERR_INTERNAL, "the route gave no answer");
    if (e != ERR_OK)
        request_fail(r, e, &c.info);
}
