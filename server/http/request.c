#include "server/http/request.h"

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "server/http/header.h"
#include "server/http/problem.h"
#include "server/http/routes/routes.h"
#include "server/store/certificate.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    DRAIN_MAX = 1024 * 1024,   /* bytes of an unwanted body that are read, so that the client sees the answer */
    QUEUE_WAIT_MAX_MS = 10000, /* a request that waited longer for a worker is not worth doing any more */
    RANDOM_ID_BYTES = 16,
};

static const char *header_of(const struct request *r, const char *name)
{
    return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

static void address_write(struct MHD_Connection *connection, char out[REQUEST_ADDRESS_SIZE])
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *address = info == NULL ? NULL : info->client_addr;
    const void *bytes = NULL;
    if (address != NULL && address->sa_family == AF_INET)
        bytes = &((const struct sockaddr_in *)address)->sin_addr;
    else if (address != NULL && address->sa_family == AF_INET6)
        bytes = &((const struct sockaddr_in6 *)address)->sin6_addr;
    if (bytes == NULL || inet_ntop(address->sa_family, bytes, out, REQUEST_ADDRESS_SIZE) == NULL)
        (void)text_copy(out, REQUEST_ADDRESS_SIZE, "unknown");
}

static void request_work(struct job *job, struct db *db);

struct request *request_new(struct port *port, struct MHD_Connection *connection, const char *target)
{
    uint8_t random[RANDOM_ID_BYTES];
    struct request *r = calloc(1, sizeof *r);
    char *copy = strndup(target, URL_MAX);
    if (r == NULL || copy == NULL || random_bytes(random, sizeof random) != ERR_OK) {
        free(r);
        free(copy);
        return NULL;
    }
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    r->job.run = request_work;
    r->port = port;
    r->connection = connection;
    r->watched = info == NULL ? NULL : info->socket_context;
    r->target = copy;
    r->started_us = clock_mono_us();
    r->upload_fd = -1;
    r->body = BUF_INIT(JSON_BYTES_MAX);
    text_base32(random, sizeof random, r->id);
    address_write(connection, r->address);
    (void)atomic_fetch_add(&port->http->in_flight, 1);
    return r;
}

void request_fail(struct request *r, enum err error, const struct err_info *info)
{
    if (problem_is_private(error, info))
        log_error("request_failed", "id=%s route=%s error=%s text=\"%s\"", r->id,
                  r->match.route == NULL ? "-" : r->match.route->path, err_name(error), info->text);
    answer_clear(&r->answer);
    (void)answer_problem(error, info, r->id, &r->answer);
}

/* ---- what the head alone can say: in an I/O thread */

static bool is_of_console(const struct url_path *path)
{
    static const char *const others[] = {"api", "device", "healthz", "readyz"};
    for (size_t i = 0; path->count > 0 && i < sizeof others / sizeof others[0]; i++)
        if (strcmp(path->segments[0], others[i]) == 0)
            return false;
    return true;
}

static bool is_reading(const struct request *r)
{
    return strcmp(r->method, "GET") == 0 || strcmp(r->method, "HEAD") == 0;
}

static enum err allow_say(struct request *r, const char *allow)
{
    r->headers[0].name = strdup(MHD_HTTP_HEADER_ALLOW);
    r->headers[0].value = strdup(allow);
    r->header_count = r->headers[0].name != NULL && r->headers[0].value != NULL ? 1 : 0;
    return ERR_METHOD;
}

static enum err route_find(struct request *r, struct err_info *info)
{
    size_t path_len = strcspn(r->target, "?");
    const char *query = r->target[path_len] == '?' ? r->target + path_len + 1 : "";
    if (strlen(r->target) >= URL_MAX)
        return err_code(info, ERR_INVALID, "target_too_long", "the address is longer than %d bytes", URL_MAX - 1);
    enum err e = url_path_parse(r->target, path_len, &r->path, info);
    if (e != ERR_OK)
        return e;
    r->is_file = !r->port->is_device && is_of_console(&r->path);
    if (r->is_file && is_reading(r))
        return ERR_OK;
    if (r->is_file)
        return err_set(info, allow_say(r, "GET, HEAD"), "the console takes GET and HEAD only");
    e = url_query_parse(query, &r->query, info);
    if (e != ERR_OK)
        return e;
    e = router_match(r->port->tables, r->port->table_count, r->method, &r->path, &r->match, info);
    return e == ERR_METHOD ? allow_say(r, r->match.allow) : e;
}

/* Something that can be a credential is shown; whose it is only the database knows. */
static enum err credential_check(struct request *r, struct err_info *info)
{
    if (r->match.route->permission == PERMIT_ANYONE)
        return ERR_OK;
    if (r->match.route->permission == PERMIT_DEVICE_SELF)
        return peer_identify(r->connection, &r->peer, info);
    const char *cookie = MHD_lookup_connection_value(r->connection, MHD_COOKIE_KIND, SESSION_COOKIE);
    enum err e = credential_read(header_of(r, MHD_HTTP_HEADER_AUTHORIZATION), cookie, &r->credential, info);
    if (e != ERR_OK)
        return e;
    if (r->credential.kind == CREDENTIAL_NONE)
        return err_code(info, ERR_UNAUTHENTICATED, "login_required", "nobody is logged in");
    if (r->credential.kind == CREDENTIAL_SESSION && !is_reading(r) && !text_eq(header_of(r, "X-Muster-Csrf"), "1")) {
        e = err_code(info, ERR_FORBIDDEN, "csrf_header_missing", "a change by a browser's login needs one header more");
        err_next(info, "Send the header `X-Muster-Csrf: 1`.");
        return e;
    }
    return ERR_OK;
}

/* Content-Length, 0 without a body, -1 when the body says no length. */
static int64_t body_length(const struct request *r)
{
    const char *text = header_of(r, MHD_HTTP_HEADER_CONTENT_LENGTH);
    int64_t length = 0;
    if (header_of(r, MHD_HTTP_HEADER_TRANSFER_ENCODING) != NULL)
        return -1;
    if (text != NULL && text_to_i64(text, 0, INT64_MAX, &length) != ERR_OK)
        return INT64_MAX;
    return length;
}

static enum err too_large(struct err_info *info, int64_t max)
{
    return err_code(info, ERR_TOO_LARGE, "body_too_large", "the body is over the limit of %" PRId64 " bytes", max);
}

static bool is_raw(enum route_body kind)
{
    return kind == BODY_RAW || kind == BODY_PART;
}

static int64_t body_max(const struct request *r)
{
    enum route_body kind = r->match.route->body;
    return kind == BODY_RAW ? r->port->http->upload_max : kind == BODY_PART ? CALL_PART_MAX : JSON_BYTES_MAX;
}

static enum err body_check(struct request *r, struct err_info *info)
{
    const char *type = header_of(r, MHD_HTTP_HEADER_CONTENT_TYPE);
    enum route_body kind = r->match.route->body;
    if (kind == BODY_JSON && !header_is_type(type, "application/json"))
        return err_code(info, ERR_UNSUPPORTED, "content_type", "the body must be sent as application/json");
    if (is_raw(kind) && type != NULL && !header_is_type(type, "application/octet-stream"))
        return err_code(info, ERR_UNSUPPORTED, "content_type", "the body must be sent as application/octet-stream");
    int64_t max = body_max(r);
    if (kind == BODY_NONE || body_length(r) <= max)
        return ERR_OK;
    enum err e = too_large(info, max);
    if (kind == BODY_PART)
        err_next(info, "Send the file in parts, with Content-Range.");
    return e;
}

static enum err head_check(struct request *r, struct err_info *info)
{
    if (atomic_load(&r->port->http->stopping))
        return err_code(info, ERR_UNAVAILABLE, "stopping", "this server is stopping");
    enum err e = route_find(r, info);
    if (e == ERR_OK && !r->is_file)
        e = credential_check(r, info);
    if (e == ERR_OK && !r->is_file)
        e = body_check(r, info);
    return e;
}

/* ---- the way to a worker and back */

/* Suspends, then queues: a worker may be done before this returns. false: the queue is full. */
static bool worker_ask(struct request *r)
{
    struct http *http = r->port->http;
    if (!workers_admit(http->workers))
        return false;
    watch_rest(http->watch, r->watched);
    r->queued_ms = clock_mono_ms();
    MHD_suspend_connection(r->connection);
    workers_push(http->workers, &r->job);
    return true;
}

static enum err busy(struct err_info *info)
{
    return err_code(info, ERR_UNAVAILABLE, "busy", "the server has more to do than it can");
}

static enum err device_identify(struct request *r, struct db *db, struct err_info *info)
{
    char device_id[DEVICE_ID_SIZE];
    enum err e = certificate_find_device(db, r->peer.fingerprint, device_id, info);
    if (e != ERR_OK)
        return e;
    if (!text_eq(device_id, r->peer.device_id))
        return err_code(info, ERR_UNAUTHENTICATED, "certificate_invalid", "the certificate is of another device");
    (void)snprintf(r->identity.actor, sizeof r->identity.actor, "device:%s", device_id);
    return ERR_OK;
}

static enum err person_identify(struct request *r, struct db *db, struct err_info *info)
{
    enum permission permission = r->match.route->permission;
    enum err e = credential_find(db, &r->credential, r->port->http->session_limits, &r->identity, info);
    if (e != ERR_OK)
        return e;
    if (!access_allows(r->identity.grant, permission))
        return err_set(info, ERR_FORBIDDEN, "this needs the right %s, which %s with the role %s has not",
                       access_permission_name(permission), r->identity.grant.is_token ? "a token" : "a person",
                       access_role_name(r->identity.grant.role));
    return r->identity.use_due ? credential_use(db, &r->credential, info) : ERR_OK;
}

static enum err identify(struct request *r, struct db *db, struct err_info *info)
{
    if (r->identified || r->match.route->permission == PERMIT_ANYONE)
        return ERR_OK;
    enum err e =
        r->match.route->permission == PERMIT_DEVICE_SELF ? device_identify(r, db, info) : person_identify(r, db, info);
    r->identified = e == ERR_OK;
    return e;
}

/* In a worker, while the connection is suspended. The request is not touched after it was resumed. */
static void request_work(struct job *job, struct db *db)
{
    struct request *r = (struct request *)job;
    struct err_info info = {.offset = -1};
    bool head_only = r->stage == STAGE_HEAD;
    enum err e = clock_mono_ms() - r->queued_ms > QUEUE_WAIT_MAX_MS ? busy(&info) : identify(r, db, &info);
    if (e != ERR_OK)
        request_fail(r, e, &info);
    else if (!head_only)
        call_run(r, db);
    r->stage = !head_only ? STAGE_ANSWERED : e == ERR_OK ? STAGE_IDENTIFIED : STAGE_REFUSED;
    MHD_resume_connection(r->connection);
}

/* ---- answers */

static enum err answer_complete(struct request *r)
{
    const struct answer *a = &r->answer;
    enum err e = answer_header(a, "X-Request-Id", r->id);
    if (e == ERR_OK && MHD_get_response_header(a->response, MHD_HTTP_HEADER_CACHE_CONTROL) == NULL)
        e = answer_header(a, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (e == ERR_OK && atomic_load(&r->port->http->stopping))
        e = answer_header(a, MHD_HTTP_HEADER_CONNECTION, "close");
    for (size_t i = 0; e == ERR_OK && i < r->header_count; i++)
        e = answer_header(a, r->headers[i].name, r->headers[i].value);
    return e == ERR_OK && !r->port->is_device ? answer_harden(a) : e;
}

static enum MHD_Result answer_send(struct request *r)
{
    struct http *http = r->port->http;
    if (r->answer.response == NULL || answer_complete(r) != ERR_OK)
        return MHD_NO;
    if (r->answer.size < 0)
        watch_rest(http->watch, r->watched);
    else
        watch_expect(http->watch, r->watched, clock_mono_ms(), r->answer.size);
    enum MHD_Result result = MHD_queue_response(r->connection, r->answer.status, r->answer.response);
    MHD_destroy_response(r->answer.response);
    r->answer.response = NULL;
    r->stage = STAGE_SENT;
    return result;
}

/* The answer is there before the body: a small body is read first, so that the client gets to see the answer and can
 * go on with the connection; for a large one, or a client that asked first, it is sent at once and the connection
 * ends. */
static enum MHD_Result refuse(struct request *r)
{
    int64_t length = body_length(r);
    bool asked = header_is_type(header_of(r, MHD_HTTP_HEADER_EXPECT), "100-continue");
    if (length > DRAIN_MAX || (length != 0 && asked))
        return answer_send(r);
    watch_expect(r->port->http->watch, r->watched, clock_mono_ms(), length < 0 ? 0 : length);
    r->stage = STAGE_DRAIN;
    return MHD_YES;
}

static enum MHD_Result fail_and_refuse(struct request *r, enum err e, const struct err_info *info)
{
    request_fail(r, e, info);
    return refuse(r);
}

/* ---- the body */

static enum MHD_Result body_begin(struct request *r)
{
    struct http *http = r->port->http;
    if (!r->is_file && is_raw(r->match.route->body)) {
        struct err_info info = {.offset = -1};
        r->upload_fd = open(http->cache_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (r->upload_fd < 0)
            return fail_and_refuse(
                r, err_set(&info, ERR_IO, "cannot make a file in cache_dir %s: %s", http->cache_dir, strerror(errno)),
                &info);
    }
    watch_expect(http->watch, r->watched, clock_mono_ms(), 0);
    r->stage = STAGE_BODY;
    return MHD_YES;
}

static enum err body_store(struct request *r, const char *data, size_t size, struct err_info *info)
{
    enum route_body kind = r->is_file ? BODY_NONE : r->match.route->body;
    if (kind == BODY_JSON) {
        enum err e = buf_add(&r->body, data, size);
        return e == ERR_TOO_LARGE ? too_large(info, JSON_BYTES_MAX) : e;
    }
    if (is_raw(kind) && r->body_size > body_max(r))
        return too_large(info, body_max(r));
    if (is_raw(kind))
        return file_write_fd(r->upload_fd, data, size);
    return r->body_size > DRAIN_MAX ? too_large(info, DRAIN_MAX) : ERR_OK;
}

static enum MHD_Result body_take(struct request *r, const char *data, size_t *size)
{
    struct err_info info = {.offset = -1};
    size_t len = *size;
    *size = 0;
    r->body_size += (int64_t)len;
    watch_expect(r->port->http->watch, r->watched, r->started_us / 1000, r->body_size);
    if (r->stage == STAGE_DRAIN)
        return r->body_size > DRAIN_MAX ? MHD_NO : MHD_YES;
    enum err e = body_store(r, data, len, &info);
    if (e == ERR_OK)
        return MHD_YES;
    request_fail(r, e, &info);
    r->stage = STAGE_DRAIN; /* an answer cannot be queued in the middle of a body */
    r->body_size = 0;
    return MHD_YES;
}

/* The request is whole. */
static enum MHD_Result body_end(struct request *r)
{
    struct err_info info = {.offset = -1};
    enum err e = ERR_OK;
    if (r->is_file)
        e = files_answer(r->port->http->files, &r->path, r->connection, &r->answer, &info);
    else if (r->match.route->handle == health_alive)
        call_run(r, NULL);
    else if (worker_ask(r))
        return MHD_YES;
    else
        e = busy(&info);
    if (e != ERR_OK)
        request_fail(r, e, &info);
    return answer_send(r);
}

static enum MHD_Result head_take(struct request *r, const char *method)
{
    struct err_info info = {.offset = -1};
    (void)text_copy(r->method, sizeof r->method, method);
    enum err e = head_check(r, &info);
    if (e != ERR_OK)
        return fail_and_refuse(r, e, &info);
    bool ask_first = !r->is_file && r->match.route->body != BODY_NONE && r->match.route->permission != PERMIT_ANYONE;
    if (!ask_first)
        return body_begin(r);
    return worker_ask(r) ? MHD_YES : fail_and_refuse(r, busy(&info), &info);
}

enum MHD_Result request_handle(struct request *r, const char *method, const char *data, size_t *size)
{
    switch (r->stage) {
    case STAGE_HEAD:
        return head_take(r, method);
    case STAGE_IDENTIFIED:
        return body_begin(r);
    case STAGE_REFUSED:
        return refuse(r);
    case STAGE_BODY:
        return *size > 0 ? body_take(r, data, size) : body_end(r);
    case STAGE_DRAIN:
        return *size > 0 ? body_take(r, data, size) : answer_send(r);
    case STAGE_ANSWERED:
        return answer_send(r);
    case STAGE_SENT:
        break;
    }
    *size = 0;
    return MHD_YES;
}

static void access_log(const struct request *r, enum MHD_RequestTerminationCode code)
{
    const char *event = code == MHD_REQUEST_TERMINATED_COMPLETED_OK ? "request" : "request_aborted";
    const char *route = r->is_file ? "console" : r->match.route != NULL ? r->match.route->path : "-";
    bool is_probe = r->match.route != NULL && r->match.route->handle == health_alive;
    (is_probe ? log_debug
              : log_info)(event, "id=%s port=%s method=%s route=%s status=%u ms=%" PRId64 " actor=%s address=%s", r->id,
                          r->port->name, r->method, route, r->answer.status, (clock_mono_us() - r->started_us) / 1000,
                          r->identified ? r->identity.actor : "-", r->address);
}

void request_end(struct request *r, enum MHD_RequestTerminationCode code)
{
    struct http *http = r->port->http;
    access_log(r, code);
    watch_expect(http->watch, r->watched, clock_mono_ms(), 0);
    answer_clear(&r->answer);
    object_use_end(r->object);
    buf_free(&r->body);
    url_path_clear(&r->path);
    url_query_clear(&r->query);
    if (r->upload_fd >= 0)
        (void)close(r->upload_fd);
    for (size_t i = 0; i < EXTRA_HEADERS_MAX; i++) {
        free(r->headers[i].name);
        free(r->headers[i].value);
    }
    free(r->target);
    free(r);
    (void)atomic_fetch_sub(&http->in_flight, 1);
}
