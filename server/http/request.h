#pragma once
/* A request on its way through the threads. Only for http.c, request.c and call.c. */

#include "common/base/buf.h"
#include "server/artifact/object_cache.h"
#include "server/http/answer.h"
#include "server/http/call.h"
#include "server/http/credential.h"
#include "server/http/files.h"
#include "server/http/peer.h"
#include "server/http/router.h"
#include "server/http/watch.h"
#include "server/http/workers.h"
#include "server/server.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

enum { REQUEST_ID_SIZE = 27, REQUEST_METHOD_SIZE = 16, REQUEST_ADDRESS_SIZE = 48, EXTRA_HEADERS_MAX = 4 };

/* One port. */
struct port {
    struct http *http;
    const char *name; /* "api", "device" */
    int number;
    const struct route_table *const *tables;
    size_t table_count;
    bool is_device;
    struct MHD_Daemon *daemon;
    pthread_t starter;
    char complaint[160]; /* what libmicrohttpd said last in the starter's thread */
};

struct http {
    struct server *server;
    struct workers *workers;
    struct watch *watch;
    struct files *files; /* of the console; on the API port */
    struct session_limits session_limits;
    int64_t upload_max; /* bytes */
    const char *cache_dir;
    atomic_bool stopping;
    atomic_int in_flight; /* requests that have begun and not ended */
    struct port api, device;
};

/* Where a request is. Changed by its I/O thread, and by a worker while the connection is suspended. */
enum request_stage {
    STAGE_HEAD,       /* nothing is known yet */
    STAGE_IDENTIFIED, /* a worker said who it is; the body may come */
    STAGE_REFUSED,    /* a worker said no before the body; `answer` says why */
    STAGE_BODY,       /* the body comes */
    STAGE_DRAIN,      /* the body comes and is thrown away; `answer` waits */
    STAGE_ANSWERED,   /* `answer` is to be sent */
    STAGE_SENT,
};

struct request {
    struct job job; /* first: what a worker gets */
    struct port *port;
    struct MHD_Connection *connection;
    struct watched *watched;
    char *target; /* raw, as on the request line */
    char method[REQUEST_METHOD_SIZE];
    char id[REQUEST_ID_SIZE];
    char address[REQUEST_ADDRESS_SIZE];
    int64_t started_us;
    int64_t queued_ms;

    struct url_path path;
    struct url_query query;
    struct route_match match;
    bool is_file; /* one of the console's, or its index */

    struct credential credential;
    struct peer_identity peer;
    bool identified;
    struct identity identity;

    enum request_stage stage;
    int64_t body_size; /* bytes that have come */
    struct buf body;   /* JSON */
    int upload_fd;     /* raw; -1: none */

    struct answer answer;
    struct object_use *object; /* keeps the file that is being sent; NULL: none */
    size_t header_count;
    struct {
        char *name, *value;
    } headers[EXTRA_HEADERS_MAX]; /* of the answer, by the route */
};

/* In an I/O thread, when the request line is there. NULL without memory. */
struct request *request_new(struct port *port, struct MHD_Connection *connection, const char *target);

/* What MHD_AccessHandlerCallback is to do. */
enum MHD_Result request_handle(struct request *r, const char *method, const char *data, size_t *size);

/* The end, whatever it was: writes the access log and frees it. */
void request_end(struct request *r, enum MHD_RequestTerminationCode code);

/* Runs the route of an identified request, in a worker or (health_alive) in an I/O thread, and fills r->answer. */
void call_run(struct request *r, struct db *db);

/* Fills r->answer with the problem, and logs what only the log may know. Without memory it stays empty. */
void request_fail(struct request *r, enum err error, const struct err_info *info);
