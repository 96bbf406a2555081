#include "server/mqtt/link.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/crypt.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "server/mqtt/hints.h"
#include "server/mqtt/inbox.h"

#include <errno.h>
#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

enum {
    KEEPALIVE_S = 20,
    READY_MS = 10 * 1000, /* from connecting to the granted subscription */
    POLL_MS = 500,        /* longest rest, so that keepalives are on time */
    RETRY_MIN_MS = 500,
    RETRY_MAX_MS = 10 * 1000,
    SEND_AT_ONCE = 64,
    OUTBOX_MESSAGES_MAX = 20000,
    OUTBOX_BYTES_MAX = 32 * 1024 * 1024,
    HINTS_MAX = 20000,
    SUBSCRIPTION_FAILED = 0x80, /* this and above in a SUBACK */
};

struct mqtt_link {
    struct mosquitto *mosq; /* of the thread, once it runs */
    struct inbox *inbox;
    struct queue *outbox;
    struct queue *hints;
    char *host;
    int port;
    char subscription[TOPIC_SIZE];
    int wake_fd; /* eventfd: something to send, or stop */
    pthread_t thread;
    atomic_bool stopping;
    _Atomic int64_t since_ms;
    /* of the thread */
    bool begun;       /* connected, or tried to, at least once */
    bool failed;      /* this session must end */
    char reason[200]; /* why it ends, for the log */
};

struct outbox_message {
    struct queue_node node;
    char topic[TOPIC_SIZE];
    size_t len;
    char payload[];
};

/* ---------------------------------------------------------------- callbacks: they run in the thread, inside
 * mosquitto_loop_*(), and only take notes */

static void reason_set(struct mqtt_link *link, const char *text)
{
    (void)text_copy(link->reason, sizeof link->reason, text);
}

static void on_log(struct mosquitto *mosq, void *arg, int level, const char *text)
{
    (void)mosq;
    if (level == MOSQ_LOG_ERR)
        reason_set(arg, text);
}

static void on_connect(struct mosquitto *mosq, void *arg, int code, int flags, const mosquitto_property *properties)
{
    (void)flags;
    (void)properties;
    struct mqtt_link *link = arg;
    if (code != 0) {
        reason_set(link, mosquitto_reason_string(code));
        link->failed = true;
    } else if (mosquitto_subscribe(mosq, NULL, link->subscription, 0) != MOSQ_ERR_SUCCESS) {
        link->failed = true;
    }
}

static void on_subscribe(struct mosquitto *mosq, void *arg, int mid, int count, const int *granted,
                         const mosquitto_property *properties)
{
    (void)mosq;
    (void)mid;
    (void)properties;
    struct mqtt_link *link = arg;
    if (count == 1 && granted[0] < SUBSCRIPTION_FAILED) {
        atomic_store(&link->since_ms, clock_mono_ms());
    } else {
        reason_set(link, "the broker refused the subscription to what devices send");
        link->failed = true;
    }
}

static void on_disconnect(struct mosquitto *mosq, void *arg, int code, const mosquitto_property *properties)
{
    (void)mosq;
    (void)properties;
    struct mqtt_link *link = arg;
    if (link->reason[0] == '\0' && code != 0)
        reason_set(link, mosquitto_strerror(code));
    link->failed = true;
}

static void on_message(struct mosquitto *mosq, void *arg, const struct mosquitto_message *message,
                       const mosquitto_property *properties)
{
    (void)mosq;
    (void)properties;
    struct mqtt_link *link = arg;
    char device[DEVICE_ID_SIZE];
    enum message_kind kind;
    if (message->payloadlen >= 0 && topic_parse(message->topic, device, &kind) == ERR_OK)
        inbox_put(link->inbox, device, kind, message->payload, (size_t)message->payloadlen, clock_mono_ms());
}

/* ---------------------------------------------------------------- the thread */

static void wake_drain(struct mqtt_link *link)
{
    uint64_t count = 0;
    (void)!read(link->wake_fd, &count, sizeof count);
}

static void wake(struct mqtt_link *link)
{
    uint64_t one = 1;
    (void)!write(link->wake_fd, &one, sizeof one);
}

/* Sends what waits, as long as the socket takes it: libmosquitto's own queue has no bound. */
static void outbox_send(struct mqtt_link *link)
{
    while (!mosquitto_want_write(link->mosq)) {
        struct queue_node *list = queue_take(link->outbox, SEND_AT_ONCE, OUTBOX_BYTES_MAX, 0);
        if (list == NULL)
            return;
        for (struct queue_node *node = list; node != NULL; node = node->next) {
            const struct outbox_message *m = (const struct outbox_message *)node;
            (void)mosquitto_publish(link->mosq, NULL, m->topic, (int)m->len, m->payload, 0, false);
        }
        queue_list_free(list);
        if (mosquitto_loop_write(link->mosq, 1) != MOSQ_ERR_SUCCESS)
            return;
    }
}

static void outbox_forget(struct mqtt_link *link)
{
    struct queue_node *list = NULL;
    while ((list = queue_take(link->outbox, OUTBOX_MESSAGES_MAX, OUTBOX_BYTES_MAX, 0)) != NULL)
        queue_list_free(list);
}

static void rest(struct mqtt_link *link, int64_t ms)
{
    struct pollfd wait = {.fd = link->wake_fd, .events = POLLIN};
    int64_t until = clock_mono_ms() + ms;
    for (int64_t left = ms; left > 0 && !atomic_load(&link->stopping); left = until - clock_mono_ms())
        if (poll(&wait, 1, (int)left) > 0)
            wake_drain(link);
}

static int session_begin(struct mqtt_link *link)
{
    link->failed = false;
    link->reason[0] = '\0';
    if (link->begun)
        return mosquitto_reconnect_async(link->mosq);
    link->begun = true;
    return mosquitto_connect_async(link->mosq, link->host, link->port, KEEPALIVE_S);
}

/* libmosquitto takes a connection that was refused, or ended during the TLS handshake, for one that is still being
 * made: ask the socket itself. True when it is dead, with errno. */
static bool socket_dead(int fd)
{
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0) {
        errno = error != 0 ? error : errno;
        return true;
    }
    char byte;
    if (recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) != 0)
        return false;
    errno = ECONNRESET;
    return true;
}

/* One round: waits for the socket or a wake-up, then reads, writes and keeps alive. */
static int session_step(struct mqtt_link *link)
{
    int fd = mosquitto_socket(link->mosq);
    if (fd < 0)
        return MOSQ_ERR_CONN_LOST;
    struct pollfd fds[] = {{.fd = link->wake_fd, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    if (mosquitto_want_write(link->mosq))
        fds[1].events |= POLLOUT;
    if (poll(fds, 2, POLL_MS) < 0 && errno != EINTR)
        return MOSQ_ERR_ERRNO;
    if (fds[0].revents != 0)
        wake_drain(link);
    int rc = MOSQ_ERR_SUCCESS;
    bool up = atomic_load(&link->since_ms) != 0;
    if (fds[1].revents != 0 && !up && socket_dead(fd))
        return MOSQ_ERR_ERRNO;
    if ((fds[1].revents & (POLLIN | POLLHUP | POLLERR)) != 0)
        rc = mosquitto_loop_read(link->mosq, 1);
    if (rc == MOSQ_ERR_SUCCESS && mosquitto_want_write(link->mosq))
        rc = mosquitto_loop_write(link->mosq, 1);
    if (rc == MOSQ_ERR_SUCCESS)
        rc = mosquitto_loop_misc(link->mosq);
    return rc;
}

/* Connects and serves until the connection ends or the link is to stop. Leaves why it ended in link->reason. True when
 * it had been subscribed. */
static bool session_run(struct mqtt_link *link)
{
    bool up = false;
    int64_t deadline = clock_mono_ms() + READY_MS;
    int rc = session_begin(link);
    while (rc == MOSQ_ERR_SUCCESS && !link->failed && !atomic_load(&link->stopping)) {
        rc = session_step(link);
        if (!up && atomic_load(&link->since_ms) != 0) {
            up = true;
            log_info("broker_connected", "host=%s port=%d", link->host, link->port);
        } else if (!up && clock_mono_ms() > deadline) {
            reason_set(link, "no answer");
            break;
        }
        if (up)
            outbox_send(link);
    }
    if (link->reason[0] == '\0' && rc != MOSQ_ERR_SUCCESS)
        reason_set(link, rc == MOSQ_ERR_ERRNO ? strerror(errno) : mosquitto_strerror(rc));
    atomic_store(&link->since_ms, 0);
    outbox_forget(link);
    return up;
}

static void *link_run(void *arg)
{
    struct mqtt_link *link = arg;
    sigset_t pipe; /* OpenSSL writes to sockets without MSG_NOSIGNAL */
    (void)sigemptyset(&pipe);
    (void)sigaddset(&pipe, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &pipe, NULL);
    int64_t retry_ms = RETRY_MIN_MS;
    bool told = false;
    while (!atomic_load(&link->stopping)) {
        if (session_run(link)) {
            retry_ms = RETRY_MIN_MS;
            told = false;
        }
        if (atomic_load(&link->stopping))
            break;
        if (!told)
            log_warn("broker_away", "host=%s port=%d reason=\"%s\"", link->host, link->port, link->reason);
        told = true;
        rest(link, retry_ms / 2 + (int64_t)(random_unit() * (double)retry_ms / 2));
        retry_ms = retry_ms * 2 < RETRY_MAX_MS ? retry_ms * 2 : RETRY_MAX_MS;
    }
    if (mosquitto_disconnect(link->mosq) == MOSQ_ERR_SUCCESS)
        (void)mosquitto_loop_write(link->mosq, 1);
    return NULL;
}

/* ---------------------------------------------------------------- start and stop */

static enum err tls_set(struct mqtt_link *link, const char *pki_dir, struct err_info *info)
{
    static const char *const names[] = {"server-ca.pem", "mqtt-client.pem", "mqtt-client.key"};
    char paths[3][400];
    for (size_t i = 0; i < 3; i++) {
        if (snprintf(paths[i], sizeof paths[i], "%s/%s", pki_dir, names[i]) >= (int)sizeof paths[i])
            return err_set(info, ERR_INVALID, "pki_dir is too long");
        if (access(paths[i], R_OK) == 0)
            continue;
        enum err e = err_set(info, ERR_IO, "cannot read %s: %s", paths[i], strerror(errno));
        err_next(info, "`musterd pki init` makes it, and its owner must be who runs musterd.");
        return e;
    }
    int rc = mosquitto_tls_set(link->mosq, paths[0], NULL, paths[1], paths[2], NULL);
    return rc == MOSQ_ERR_SUCCESS ? ERR_OK
                                  : err_set(info, ERR_IO, "MQTT client certificate: %s", mosquitto_strerror(rc));
}

/* Several servers share one subscription, each as a client of its own. */
static enum err client_new(struct mqtt_link *link)
{
    uint8_t bytes[8];
    char hex[2 * sizeof bytes + 1];
    char id[sizeof hex + 8];
    enum err e = random_bytes(bytes, sizeof bytes);
    if (e != ERR_OK)
        return e;
    text_hex(bytes, sizeof bytes, hex);
    (void)snprintf(id, sizeof id, "musterd-%s", hex);
    link->mosq = mosquitto_new(id, true, link);
    if (link->mosq == NULL)
        return ERR_NO_MEMORY;
    (void)mosquitto_threaded_set(link->mosq, true);
    (void)mosquitto_int_option(link->mosq, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V5);
    (void)mosquitto_int_option(link->mosq, MOSQ_OPT_TCP_NODELAY, 1);
    mosquitto_log_callback_set(link->mosq, on_log);
    mosquitto_connect_v5_callback_set(link->mosq, on_connect);
    mosquitto_subscribe_v5_callback_set(link->mosq, on_subscribe);
    mosquitto_disconnect_v5_callback_set(link->mosq, on_disconnect);
    mosquitto_message_v5_callback_set(link->mosq, on_message);
    return ERR_OK;
}

static void link_free(struct mqtt_link *link)
{
    if (link->mosq != NULL)
        mosquitto_destroy(link->mosq);
    inbox_free(link->inbox);
    queue_free(link->outbox);
    queue_free(link->hints);
    free(link->host);
    if (link->wake_fd >= 0)
        (void)close(link->wake_fd);
    free(link);
    (void)mosquitto_lib_cleanup();
}

static enum err link_prepare(struct mqtt_link *link, const struct mqtt_link_settings *settings, struct err_info *info)
{
    if (settings->share == NULL)
        return err_set(info, ERR_INTERNAL, "the servers' shared subscription has no name");
    topic_subscription(settings->share, link->subscription);
    link->port = settings->port;
    link->host = strdup(settings->host);
    link->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (link->host == NULL || link->wake_fd < 0)
        return ERR_NO_MEMORY;
    enum err e = inbox_new(settings->inbox_parts, &link->inbox);
    if (e == ERR_OK)
        e = queue_new(OUTBOX_MESSAGES_MAX, OUTBOX_BYTES_MAX, &link->outbox);
    if (e == ERR_OK)
        e = queue_new(HINTS_MAX, SIZE_MAX, &link->hints);
    if (e == ERR_OK)
        e = client_new(link);
    if (e == ERR_OK)
        e = tls_set(link, settings->pki_dir, info);
    return e;
}

enum err mqtt_link_start(const struct mqtt_link_settings *settings, struct mqtt_link **ret_link, struct err_info *info)
{
    struct mqtt_link *link = calloc(1, sizeof *link);
    if (link == NULL)
        return ERR_NO_MEMORY;
    link->wake_fd = -1;
    (void)mosquitto_lib_init();
    enum err e = link_prepare(link, settings, info);
    if (e == ERR_OK && pthread_create(&link->thread, NULL, link_run, link) != 0)
        e = err_set(info, ERR_NO_MEMORY, "cannot start the MQTT thread");
    if (e != ERR_OK) {
        link_free(link);
        return e;
    }
    *ret_link = link;
    return ERR_OK;
}

void mqtt_link_stop(struct mqtt_link *link)
{
    if (link == NULL)
        return;
    atomic_store(&link->stopping, true);
    wake(link);
    (void)pthread_join(link->thread, NULL);
    link_free(link);
}

/* ---------------------------------------------------------------- what others use */

int64_t mqtt_link_connected_since_ms(const struct mqtt_link *link)
{
    return atomic_load(&link->since_ms);
}

void mqtt_link_publish_desired(struct mqtt_link *link, const char *device_id)
{
    hints_put(link->hints, device_id, true);
}

void mqtt_link_send(struct mqtt_link *link, const char *device_id, const char *leaf, const char *payload, size_t len)
{
    if (atomic_load(&link->since_ms) == 0)
        return;
    struct outbox_message *m = malloc(sizeof *m + len);
    if (m == NULL)
        return;
    *m = (struct outbox_message){.node.size = sizeof *m + len, .len = len};
    topic_down(device_id, leaf, m->topic);
    memcpy(m->payload, payload, len);
    if (queue_push(link->outbox, &m->node))
        wake(link);
}

struct inbox *mqtt_link_inbox(struct mqtt_link *link)
{
    return link->inbox;
}

struct queue *mqtt_link_hints(struct mqtt_link *link)
{
    return link->hints;
}
