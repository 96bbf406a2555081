#include "agent/link/link.h"

#include "agent/core/retry.h"
#include "agent/core/up.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/crypt.h"
#include "common/base/json.h"
#include "common/base/log.h"
#include "common/base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    KEEPALIVE_S = 30,
    MISC_MS = 5 * 1000,         /* how often libmosquitto looks at its keepalive */
    CONNECT_MAX_MS = 20 * 1000, /* TCP, TLS and CONNACK together */
    GOODBYE_MAX_MS = 1000,
    RETRY_FIRST_MS = 500,
    RETRY_MOST_MS = 60 * 1000,
    STEADY_MS = 30 * 1000, /* a session this long was a good one */
    READS_MAX = 256,       /* packets taken from one readiness */
    INBOX_MAX = 16,
    TOPIC_SIZE = 128
};

enum link_state { LINK_WAITING, LINK_CONNECTING /* TCP */, LINK_GREETING /* TLS, CONNECT */, LINK_UP };

struct message {
    char leaf[32];
    char *text;
    size_t len;
};

struct link {
    struct loop *loop;
    const struct identity *identity;
    struct link_hooks hooks;
    struct mosquitto *mosq; /* of this connection; NULL while waiting */
    enum link_state state;
    struct loop_watch watch;
    struct loop_timer timer; /* next try, end of the try, or keepalive: by state */
    struct retry retry;
    unsigned turn; /* counts tries: which broker, and how */
    int64_t session;
    int64_t up_ms;
    /* What callbacks have seen, taken up after libmosquitto has returned. */
    bool came_up, refused;
    size_t inbox_count;
    struct message inbox[INBOX_MAX];
    char error[160]; /* libmosquitto's last word */
};

static void connect_start(void *user);
static void socket_ready(void *user, short revents);

/* ---- callbacks of libmosquitto: they only note ---- */

static void on_connect(struct mosquitto *mosq, void *user, int reason, int flags, const mosquitto_property *properties)
{
    (void)mosq;
    (void)flags;
    (void)properties;
    struct link *link = user;
    link->came_up = reason == 0;
    link->refused = reason != 0;
    if (reason != 0)
        (void)snprintf(link->error, sizeof link->error, "refused: %s", mosquitto_reason_string(reason));
}

static void on_message(struct mosquitto *mosq, void *user, const struct mosquitto_message *m,
                       const mosquitto_property *properties)
{
    (void)mosq;
    (void)properties;
    struct link *link = user;
    char prefix[TOPIC_SIZE];
    (void)snprintf(prefix, sizeof prefix, "muster/v1/%s/down/", link->identity->device);
    if (!text_starts(m->topic, prefix) || m->payloadlen <= 0 || m->payloadlen > JSON_BYTES_MAX ||
        link->inbox_count == INBOX_MAX)
        return; /* nothing depends on a message */
    struct message *message = &link->inbox[link->inbox_count];
    char *text = strndup(m->payload, (size_t)m->payloadlen);
    if (text == NULL || !text_copy(message->leaf, sizeof message->leaf, m->topic + strlen(prefix))) {
        free(text);
        return;
    }
    message->text = text;
    message->len = strlen(text);
    link->inbox_count++;
}

static void on_log(struct mosquitto *mosq, void *user, int level, const char *text)
{
    (void)mosq;
    struct link *link = user;
    if (level == MOSQ_LOG_ERR || level == MOSQ_LOG_WARNING)
        (void)text_copy(link->error, sizeof link->error, text);
}

/* ---- one connection ---- */

static const struct identity_broker *broker_now(const struct link *link)
{
    return &link->identity->brokers[link->turn % link->identity->broker_count];
}

static void inbox_drop(struct link *link)
{
    for (size_t i = 0; i < link->inbox_count; i++)
        free(link->inbox[i].text);
    link->inbox_count = 0;
}

static void connection_drop(struct link *link)
{
    loop_watch_clear(link->loop, &link->watch);
    loop_timer_clear(link->loop, &link->timer);
    mosquitto_destroy(link->mosq);
    link->mosq = NULL;
    link->came_up = false;
    link->refused = false;
    link->state = LINK_WAITING;
    inbox_drop(link);
}

/* Gives the connection up and plans the next one, with the next broker. */
static void connection_fail(struct link *link, const char *why)
{
    const struct identity_broker *broker = broker_now(link);
    bool was_up = link->state == LINK_UP;
    if (was_up && clock_mono_ms() - link->up_ms >= STEADY_MS)
        retry_reset(&link->retry);
    connection_drop(link);
    int64_t delay = retry_next_ms(&link->retry, random_unit());
    log_warn(was_up ? "link_lost" : "link_failed", "broker=%s:%d reason=\"%s\" retry_ms=%" PRId64, broker->host,
             broker->port, link->error[0] != '\0' ? link->error : why, delay);
    link->turn++;
    loop_timer_set(link->loop, &link->timer, delay, connect_start, link);
}

static void connect_missed(void *user)
{
    connection_fail(user, "no answer in time");
}

static void watch_update(struct link *link)
{
    short events = POLLIN;
    if (link->state == LINK_CONNECTING)
        events = POLLOUT;
    else if (link->state == LINK_UP && mosquitto_want_write(link->mosq))
        events |= POLLOUT;
    loop_watch_set(link->loop, &link->watch, mosquitto_socket(link->mosq), events, socket_ready, link);
}

static void keepalive_look(void *user)
{
    struct link *link = user;
    int rc = mosquitto_loop_misc(link->mosq);
    if (rc != MOSQ_ERR_SUCCESS || mosquitto_socket(link->mosq) < 0) {
        connection_fail(link, mosquitto_strerror(rc));
        return;
    }
    loop_timer_set(link->loop, &link->timer, MISC_MS, keepalive_look, link);
    watch_update(link);
}

static bool subscribe(struct link *link)
{
    char topic[TOPIC_SIZE];
    (void)snprintf(topic, sizeof topic, "muster/v1/%s/down/#", link->identity->device);
    return mosquitto_subscribe_v5(link->mosq, NULL, topic, 0, 0, NULL) == MOSQ_ERR_SUCCESS;
}

static void messages_hand_over(struct link *link)
{
    struct mosquitto *mosq = link->mosq;
    struct message messages[INBOX_MAX];
    size_t count = link->inbox_count;
    memcpy(messages, link->inbox, sizeof messages);
    link->inbox_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (link->mosq == mosq) /* a hook may have ended this connection */
            link->hooks.message(link->hooks.user, messages[i].leaf, messages[i].text, messages[i].len);
        free(messages[i].text);
    }
}

/* Takes up what the callbacks have noted. */
static void notes_take(struct link *link)
{
    if (link->refused) {
        connection_fail(link, "refused");
        return;
    }
    if (link->came_up) {
        link->came_up = false;
        link->state = LINK_UP;
        link->up_ms = clock_mono_ms();
        link->error[0] = '\0';
        if (!subscribe(link)) {
            connection_fail(link, "cannot subscribe");
            return;
        }
        log_info("link_up", "broker=%s:%d session=%" PRId64, broker_now(link)->host, broker_now(link)->port,
                 link->session);
        loop_timer_set(link->loop, &link->timer, MISC_MS, keepalive_look, link);
        link->hooks.up(link->hooks.user);
    }
    messages_hand_over(link);
}

/* Takes all packets that have arrived, those that only TLS still holds included: EAGAIN is how libmosquitto says that
 * there are no more. While TLS is being set up it always claims to want to write; so writing follows reading, and only
 * reading is waited for. */
static int packets_move(struct link *link)
{
    int rc = MOSQ_ERR_SUCCESS;
    errno = 0;
    for (int i = 0; i < READS_MAX && rc == MOSQ_ERR_SUCCESS && errno != EAGAIN; i++) {
        errno = 0;
        rc = mosquitto_loop_read(link->mosq, 1);
    }
    return rc == MOSQ_ERR_SUCCESS ? mosquitto_loop_write(link->mosq, 1) : rc;
}

static void socket_ready(void *user, short revents)
{
    struct link *link = user;
    bool broken = (revents & (POLLERR | POLLHUP | POLLNVAL)) != 0;
    if (link->state == LINK_CONNECTING && broken) {
        connection_fail(link, "connection refused, or the host is not reachable");
        return;
    }
    if (link->state == LINK_CONNECTING)
        link->state = LINK_GREETING;
    int rc = packets_move(link);
    if (rc != MOSQ_ERR_SUCCESS || broken || mosquitto_socket(link->mosq) < 0) {
        connection_fail(link, rc == MOSQ_ERR_SUCCESS ? "connection closed" : mosquitto_strerror(rc));
        return;
    }
    notes_take(link);
    if (link->mosq != NULL)
        watch_update(link);
}

/* ---- connecting ---- */

static enum err mosquitto_make(struct link *link)
{
    char topic[TOPIC_SIZE];
    cleanup_free char *will = NULL;
    const struct identity *identity = link->identity;
    link->mosq = mosquitto_new(identity->device, true, link);
    if (link->mosq == NULL || up_gone(link->session, &will) != ERR_OK)
        return ERR_NO_MEMORY;
    mosquitto_connect_v5_callback_set(link->mosq, on_connect);
    mosquitto_message_v5_callback_set(link->mosq, on_message);
    mosquitto_log_callback_set(link->mosq, on_log);
    (void)snprintf(topic, sizeof topic, "muster/v1/%s/up/gone", identity->device);
    int rc = mosquitto_int_option(link->mosq, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V5);
    if (rc == MOSQ_ERR_SUCCESS)
        rc = mosquitto_tls_set(link->mosq, IDENTITY_CA, NULL, IDENTITY_CERTIFICATE, identity->key, NULL);
    if (rc == MOSQ_ERR_SUCCESS) /* 1: verify the broker; the host's name is always checked */
        rc = mosquitto_tls_opts_set(link->mosq, 1, NULL, NULL);
    if (rc == MOSQ_ERR_SUCCESS)
        rc = mosquitto_will_set_v5(link->mosq, topic, (int)strlen(will), will, 0, false, NULL);
    if (rc != MOSQ_ERR_SUCCESS)
        (void)snprintf(link->error, sizeof link->error, "cannot set up TLS: %s", mosquitto_strerror(rc));
    return rc == MOSQ_ERR_SUCCESS ? ERR_OK : ERR_INTERNAL;
}

static void connect_start(void *user)
{
    struct link *link = user;
    link->error[0] = '\0';
    link->session = link->hooks.session(link->hooks.user);
    if (mosquitto_make(link) != ERR_OK) {
        connection_fail(link, "cannot begin a session");
        return;
    }
    /* libmosquitto tries only the first address of a host without waiting. Every other round asks for an IPv4 one. */
    bool ipv4 = link->turn / link->identity->broker_count % 2 == 1;
    const struct identity_broker *broker = broker_now(link);
    int rc = mosquitto_connect_bind_async(link->mosq, broker->host, broker->port, KEEPALIVE_S, ipv4 ? "0.0.0.0" : NULL);
    if (rc != MOSQ_ERR_SUCCESS || mosquitto_socket(link->mosq) < 0) {
        connection_fail(link, mosquitto_strerror(rc));
        return;
    }
    link->state = LINK_CONNECTING;
    loop_timer_set(link->loop, &link->timer, CONNECT_MAX_MS, connect_missed, link);
    watch_update(link);
}

enum err link_open(struct loop *loop, const struct identity *identity, const struct link_hooks *hooks,
                   struct link **ret_link)
{
    struct link *link = calloc(1, sizeof *link);
    if (link == NULL)
        return ERR_NO_MEMORY;
    if (identity->broker_count == 0 || mosquitto_lib_init() != MOSQ_ERR_SUCCESS) {
        free(link);
        return ERR_INTERNAL;
    }
    link->loop = loop;
    link->identity = identity;
    link->hooks = *hooks;
    link->retry = RETRY_INIT(RETRY_FIRST_MS, RETRY_MOST_MS, 0.5);
    loop_timer_set(loop, &link->timer, 0, connect_start, link);
    *ret_link = link;
    return ERR_OK;
}

void link_reopen(struct link *link)
{
    connection_drop(link);
    link->turn = 0;
    loop_timer_set(link->loop, &link->timer, 0, connect_start, link);
}

/* MQTT 5 lets a client ask for its will on the way out. */
static void goodbye(struct link *link)
{
    int64_t until = clock_mono_ms() + GOODBYE_MAX_MS;
    int rc = mosquitto_disconnect_v5(link->mosq, MQTT_RC_DISCONNECT_WITH_WILL_MSG, NULL);
    while (rc == MOSQ_ERR_SUCCESS && mosquitto_want_write(link->mosq) && clock_mono_ms() < until) {
        struct pollfd fd = {.fd = mosquitto_socket(link->mosq), .events = POLLOUT};
        (void)poll(&fd, 1, GOODBYE_MAX_MS);
        rc = mosquitto_loop_write(link->mosq, 1);
    }
}

void link_close(struct link *link)
{
    if (link == NULL)
        return;
    if (link->state == LINK_UP)
        goodbye(link);
    connection_drop(link);
    (void)mosquitto_lib_cleanup();
    free(link);
}

bool link_is_up(const struct link *link)
{
    return link != NULL && link->state == LINK_UP;
}

int64_t link_session(const struct link *link)
{
    return link->session;
}

enum err link_publish(struct link *link, const char *leaf, const char *text)
{
    char topic[TOPIC_SIZE];
    if (!link_is_up(link) || mosquitto_want_write(link->mosq))
        return ERR_UNAVAILABLE;
    (void)snprintf(topic, sizeof topic, "muster/v1/%s/up/%s", link->identity->device, leaf);
    int rc = mosquitto_publish_v5(link->mosq, NULL, topic, (int)strlen(text), text, 0, false, NULL);
    if (rc != MOSQ_ERR_SUCCESS)
        return ERR_UNAVAILABLE; /* a broken socket shows up in the loop */
    watch_update(link);
    return ERR_OK;
}
