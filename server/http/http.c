#include "server/http/http.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "server/http/broadcast.h"
#include "server/http/request.h"
#include "server/http/routes/routes.h"

#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum {
    IDLE_S = 30,                   /* without a byte in either direction a connection ends */
    CONNECTION_MEMORY = 64 * 1024, /* for the head, and a piece of the body */
    QUEUE_MAX = 256,               /* requests that wait for a worker */
    END_GRACE_MS = 3000,           /* for requests at the end */
    PEM_MAX = 256 * 1024,
    BACKLOG = 511,
};

static const char TLS_PRIORITIES[] = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:%SERVER_PRECEDENCE";

/* ---- libmicrohttpd's callbacks, in I/O threads */

static void *on_target(void *cls, const char *target, struct MHD_Connection *connection)
{
    return request_new(cls, connection, target);
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *data, size_t *size, void **request)
{
    (void)cls;
    (void)connection;
    (void)url; /* decoded: the raw target is routed instead */
    (void)version;
    return *request == NULL ? MHD_NO : request_handle(*request, method, data, size);
}

static void on_end(void *cls, struct MHD_Connection *connection, void **request, enum MHD_RequestTerminationCode code)
{
    (void)cls;
    (void)connection;
    if (*request != NULL)
        request_end(*request, code);
    *request = NULL;
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **watched,
                          enum MHD_ConnectionNotificationCode code)
{
    struct port *port = cls;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        *watched = info == NULL ? NULL : watch_add(port->http->watch, info->connect_fd);
    } else {
        watch_remove(port->http->watch, *watched);
        *watched = NULL;
    }
}

/* Handshakes that fail are everyday noise; in the thread that starts the port it is the reason why it does not start.
 */
[[gnu::format(printf, 2, 0)]] static void on_message(void *cls, const char *fmt, va_list args)
{
    struct port *port = cls;
    char text[sizeof port->complaint];
    (void)vsnprintf(text, sizeof text, fmt, args);
    text[strcspn(text, "\n")] = '\0';
    log_debug("http", "port=%s text=\"%s\"", port->name, text);
    if (pthread_equal(pthread_self(), port->starter))
        memcpy(port->complaint, text, sizeof text);
}

/* ---- start */

/* A listening socket of our own: its errors say more than libmicrohttpd's. */
static enum err socket_listen(const struct port *port, const char *address, int *ret_fd, struct err_info *info)
{
    char service[8];
    (void)snprintf(service, sizeof service, "%d", port->number);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int code = getaddrinfo(address, service, &hints, &found);
    if (code != 0)
        return err_field(info, ERR_INVALID, "listen", "listen = \"%s\" is not an address: %s", address,
                         gai_strerror(code));
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool listens = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) == 0 &&
                   bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0;
    int number = errno;
    freeaddrinfo(found);
    if (listens) {
        *ret_fd = fd;
        return ERR_OK;
    }
    if (fd >= 0)
        (void)close(fd);
    return err_set(info, err_from_errno(number), "cannot listen on %s, %s_port %d: %s", address, port->name,
                   port->number, strerror(number));
}

/* What a port proves itself with, and whose certificates it takes. */
struct pems {
    char *key, *certificate;
    char *device_ca; /* NULL: it asks for none */
};

static void pems_clear(struct pems *pems)
{
    if (pems->key != NULL)
        explicit_bzero(pems->key, strlen(pems->key));
    free(pems->key);
    free(pems->certificate);
    free(pems->device_ca);
}
#define cleanup_pems [[gnu::cleanup(pems_clear)]]

static enum err pem_read(const char *dir, const char *name, char **ret_pem, struct err_info *info)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    enum err e = file_read(path, PEM_MAX, ret_pem, NULL);
    if (e == ERR_OK)
        return ERR_OK;
    e = err_set(info, e, "cannot read %s: %s", path, err_name(e));
    err_next(info, "run `musterd pki init --host NAME`, or set pki_dir");
    return e;
}

static enum err pems_read(const struct port *port, const char *dir, struct pems *out, struct err_info *info)
{
    enum err e = pem_read(dir, "musterd.key", &out->key, info);
    if (e == ERR_OK)
        e = pem_read(dir, "musterd.pem", &out->certificate, info);
    return e == ERR_OK && port->is_device ? pem_read(dir, "device-ca.pem", &out->device_ca, info) : e;
}

/* The device port asks for a certificate; who shows which is judged by peer_identify(). */
static void options_write(struct port *port, const struct conf *conf, int fd, const struct pems *pems,
                          struct MHD_OptionItem out[static 16])
{
    int64_t threads = conf_int(conf, "http_threads");
    size_t n = 0;
    out[n++] = (struct MHD_OptionItem){MHD_OPTION_LISTEN_SOCKET, fd, NULL};
    out[n++] = (struct MHD_OptionItem){MHD_OPTION_CONNECTION_LIMIT, conf_int(conf, "http_connections"), NULL};
    out[n++] = (struct MHD_OptionItem){MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S, NULL};
    out[n++] = (struct MHD_OptionItem){MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY, NULL};
    out[n++] = (struct MHD_OptionItem){MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL};
    out[n++] = (struct MHD_OptionItem){MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)on_target, port};
    out[n++] = (struct MHD_OptionItem){MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_end, port};
    out[n++] = (struct MHD_OptionItem){MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, port};
    out[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_KEY, 0, pems->key};
    out[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_CERT, 0, pems->certificate};
    out[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)TLS_PRIORITIES};
    if (threads > 1)
        out[n++] = (struct MHD_OptionItem){MHD_OPTION_THREAD_POOL_SIZE, threads, NULL};
    if (pems->device_ca != NULL)
        out[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_TRUST, 0, pems->device_ca};
    out[n] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
}

static enum err port_start(struct port *port, const struct conf *conf, struct err_info *info)
{
    const char *dir = conf_text(conf, "pki_dir");
    cleanup_pems struct pems pems = {};
    struct MHD_OptionItem options[16];
    int fd = -1;
    enum err e = pems_read(port, dir, &pems, info);
    if (e == ERR_OK)
        e = socket_listen(port, conf_text(conf, "listen"), &fd, info);
    if (e != ERR_OK)
        return e;
    port->starter = pthread_self();
    options_write(port, conf, fd, &pems, options);
    port->daemon =
        MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_TLS | MHD_USE_ERROR_LOG,
                         (uint16_t)port->number, NULL, NULL, on_request, port, MHD_OPTION_EXTERNAL_LOGGER, on_message,
                         port, MHD_OPTION_ARRAY, options, MHD_OPTION_END);
    if (port->daemon == NULL) {
        (void)close(fd);
        return err_set(info, ERR_INTERNAL, "cannot start the %s port: %s (with %s/musterd.pem and musterd.key)",
                       port->name, port->complaint, dir);
    }
    log_info("listening", "port=%s address=%s number=%d", port->name, conf_text(conf, "listen"), port->number);
    return ERR_OK;
}

static enum err helpers_start(struct http *http, const struct conf *conf, struct err_info *info)
{
    const struct workers_settings settings = {
        .count = (size_t)conf_int(conf, "http_workers"),
        .queue_max = QUEUE_MAX,
        .database_url = conf_text(conf, "database_url"),
        .statement_timeout_ms = (int)conf_int(conf, "statement_timeout_ms"),
    };
    enum err e = files_new(conf_text(conf, "web_dir"), &http->files);
    if (e == ERR_OK)
        e = watch_start(&http->watch, info);
    return e == ERR_OK ? workers_start(&settings, &http->workers, info) : e;
}

enum err http_start(struct server *server, struct http **ret_http, struct err_info *info)
{
    const struct conf *conf = server->conf;
    struct http *http = calloc(1, sizeof *http);
    if (http == NULL)
        return err_set(info, ERR_NO_MEMORY, "no memory for HTTP");
    http->server = server;
    http->session_limits =
        (struct session_limits){.idle_s = conf_int(conf, "session_idle_s"), .max_s = conf_int(conf, "session_max_s")};
    http->upload_max = conf_int(conf, "max_bundle_mb") * 1024 * 1024;
    http->cache_dir = conf_text(conf, "cache_dir");
    http->api = (struct port){.http = http, .name = "api", .number = (int)conf_int(conf, "api_port")};
    http->api.tables = routes_of_api_port(&http->api.table_count);
    http->device =
        (struct port){.http = http, .name = "device", .number = (int)conf_int(conf, "device_port"), .is_device = true};
    http->device.tables = routes_of_device_port(&http->device.table_count);
    enum err e = helpers_start(http, conf, info);
    if (e == ERR_OK)
        e = port_start(&http->api, conf, info);
    if (e == ERR_OK)
        e = port_start(&http->device, conf, info);
    if (e != ERR_OK) {
        http_stop(http);
        return e;
    }
    *ret_http = http;
    return ERR_OK;
}

/* ---- stop */

static void port_quiesce(const struct port *port)
{
    int fd = port->daemon == NULL ? -1 : MHD_quiesce_daemon(port->daemon);
    if (fd >= 0)
        (void)close(fd);
}

static void port_stop(const struct port *port)
{
    if (port->daemon != NULL)
        MHD_stop_daemon(port->daemon);
}

void http_stop(struct http *http)
{
    if (http == NULL)
        return;
    atomic_store(&http->stopping, true);
    port_quiesce(&http->api);
    port_quiesce(&http->device);
    broadcast_stop(http->server->broadcast);
    int64_t until = clock_mono_ms() + END_GRACE_MS;
    while (atomic_load(&http->in_flight) > 0 && clock_mono_ms() < until)
        clock_sleep_ms(10);
    workers_stop(http->workers); /* every suspended request has its answer now */
    port_stop(&http->api);
    port_stop(&http->device);
    watch_stop(http->watch);
    files_free(http->files);
    free(http);
}
