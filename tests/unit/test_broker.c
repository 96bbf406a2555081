/* packaging/mosquitto with a real Mosquitto and the certificates of server/pki: who gets in, and who hears whom. */

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/text.h"
#include "tests/unit/pki_kit.h"

#include <arpa/inet.h>
#include <grp.h>
#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define ID_A "aaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID_B "bbbbbbbbbbbbbbbbbbbbbbbbbb"

enum { PATIENCE_MS = 5000, QUIET_MS = 300, HEARD_MAX = 4096 };

struct stage {
    struct pki_kit pki;
    pid_t broker;
    int port;        /* for devices */
    int server_port; /* for servers */
};
static struct stage stage;

/* ---------------------------------------------------------------- the broker */

static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    cleanup_fd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    return ntohs(address.sin_port);
}

static void path_of(const char *name, char path[128])
{
    (void)snprintf(path, 128, "%s/%s", stage.pki.dir, name);
}

/* The value that stands for a placeholder of mosquitto.conf.in. */
static void value_of(const char *name, char value[128])
{
    if (text_starts(name, "@PORT@"))
        (void)snprintf(value, 128, "%d", stage.port);
    else if (text_starts(name, "@ADDRESS@"))
        (void)snprintf(value, 128, "127.0.0.1");
    else if (text_starts(name, "@SERVER_PORT@"))
        (void)snprintf(value, 128, "%d", stage.server_port);
    else if (text_starts(name, "@SERVER_ADDRESS@"))
        (void)snprintf(value, 128, "127.0.0.1");
    else if (text_starts(name, "@DEVICE_CA@"))
        path_of("device-ca.pem", value);
    else if (text_starts(name, "@SERVER_CA@"))
        path_of("server-ca.pem", value);
    else if (text_starts(name, "@CERT@"))
        path_of("broker.pem", value);
    else if (text_starts(name, "@KEY@"))
        path_of("broker.key", value);
    else if (text_starts(name, "@ACL@"))
        path_of("acl", value);
    else
        fail_msg("mosquitto.conf.in has a placeholder that is not known here: %.20s", name);
}

/* The shipped configuration with its placeholders filled in. */
static void configure(void)
{
    cleanup_free char *template = NULL;
    cleanup_free char *acl = NULL;
    cleanup_buf struct buf conf = BUF_INIT(64 * 1024);
    char path[128];
    size_t acl_len = 0;
    assert_int_equal(file_read("packaging/mosquitto/mosquitto.conf.in", 65536, &template, NULL), ERR_OK);
    assert_int_equal(file_read("packaging/mosquitto/acl", 65536, &acl, &acl_len), ERR_OK);
    path_of("acl", path);
    assert_int_equal(file_write(path, acl, acl_len, 0644), ERR_OK);
    bool comment = false;
    for (const char *p = template; *p != '\0'; p++) {
        comment = *p == '#' || (comment && *p != '\n');
        if (*p == '@' && !comment) {
            char value[128];
            value_of(p, value);
            assert_int_equal(buf_add_text(&conf, value), ERR_OK);
            p = strchr(p + 1, '@');
        } else {
            assert_int_equal(buf_add(&conf, p, 1), ERR_OK);
        }
    }
    path_of("mosquitto.conf", path);
    assert_int_equal(file_write(path, conf.data, conf.len, 0644), ERR_OK);
}

/* Mosquitto does not stay root: it needs an account that can read its key. */
static const struct passwd *broker_account(void)
{
    if (geteuid() != 0)
        return NULL;
    const struct passwd *account = getpwnam("mosquitto");
    return account != NULL ? account : getpwnam("nobody");
}

static void broker_become(const struct passwd *account)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (account != NULL && (setgroups(0, NULL) != 0 || setgid(account->pw_gid) != 0 || setuid(account->pw_uid) != 0))
        _exit(126);
    char path[128];
    path_of("mosquitto.conf", path);
    (void)setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
    (void)execlp("mosquitto", "mosquitto", "-c", path, NULL);
    _exit(127);
}

static bool port_answers(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)stage.server_port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    cleanup_fd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
}

static int broker_start(void **state)
{
    (void)state;
    assert_int_equal(mosquitto_lib_init(), MOSQ_ERR_SUCCESS);
    pki_kit_start(&stage.pki);
    stage.port = free_port();
    stage.server_port = free_port();
    configure();
    const struct passwd *account = broker_account();
    if (account != NULL) {
        char key[128];
        path_of("broker.key", key);
        assert_int_equal(chown(key, account->pw_uid, account->pw_gid), 0);
        assert_int_equal(chown(stage.pki.dir, account->pw_uid, account->pw_gid), 0);
    }
    stage.broker = fork();
    assert_true(stage.broker >= 0);
    if (stage.broker == 0)
        broker_become(account);
    for (int64_t end = clock_mono_ms() + PATIENCE_MS; clock_mono_ms() < end; clock_sleep_ms(20)) {
        int status = 0;
        if (waitpid(stage.broker, &status, WNOHANG) == stage.broker)
            fail_msg("mosquitto ended with status %d; is it installed?", WEXITSTATUS(status));
        if (port_answers())
            return 0;
    }
    fail_msg("mosquitto does not listen");
    return 1;
}

static int broker_stop(void **state)
{
    (void)state;
    int status = 0;
    assert_int_equal(kill(stage.broker, SIGTERM), 0);
    assert_int_equal(waitpid(stage.broker, &status, 0), stage.broker);
    pki_kit_end(&stage.pki);
    assert_int_equal(mosquitto_lib_cleanup(), MOSQ_ERR_SUCCESS);
    return 0;
}

/* ---------------------------------------------------------------- clients */

struct client {
    struct mosquitto *mqtt;
    int port;
    bool connected;
    bool ended;
    char heard[HEARD_MAX]; /* "topic=payload\n" of every message */
};

static void heard(struct mosquitto *mqtt, void *arg, const struct mosquitto_message *message)
{
    (void)mqtt;
    struct client *client = arg;
    size_t used = strlen(client->heard);
    (void)snprintf(client->heard + used, sizeof client->heard - used, "%s=%.*s\n", message->topic, message->payloadlen,
                   (const char *)message->payload);
}

static void connected(struct mosquitto *mqtt, void *arg, int rc)
{
    (void)mqtt;
    ((struct client *)arg)->connected = rc == 0;
    ((struct client *)arg)->ended = rc != 0;
}

static void disconnected(struct mosquitto *mqtt, void *arg, int rc)
{
    (void)mqtt;
    (void)rc;
    ((struct client *)arg)->connected = false;
    ((struct client *)arg)->ended = true;
}

/* A client of a listener, not connected yet. certificate: NAME of NAME.pem and NAME.key, NULL for none. */
static void client_new(struct client *client, int port, const char *client_id, const char *certificate)
{
    char ca[128];
    char pem[160];
    char key[160];
    *client = (struct client){.mqtt = mosquitto_new(client_id, true, client), .port = port};
    assert_non_null(client->mqtt);
    path_of("server-ca.pem", ca);
    (void)snprintf(pem, sizeof pem, "%s/%s.pem", stage.pki.dir, certificate == NULL ? "" : certificate);
    (void)snprintf(key, sizeof key, "%s/%s.key", stage.pki.dir, certificate == NULL ? "" : certificate);
    assert_int_equal(mosquitto_tls_set(client->mqtt, ca, NULL, certificate == NULL ? NULL : pem,
                                       certificate == NULL ? NULL : key, NULL),
                     MOSQ_ERR_SUCCESS);
    assert_int_equal(mosquitto_int_option(client->mqtt, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V5), MOSQ_ERR_SUCCESS);
    mosquitto_message_callback_set(client->mqtt, heard);
    mosquitto_connect_callback_set(client->mqtt, connected);
    mosquitto_disconnect_callback_set(client->mqtt, disconnected);
}

/* Lets the network happen for one client. */
static void turn(struct client *client)
{
    if (!client->ended && mosquitto_loop(client->mqtt, 10, 1) != MOSQ_ERR_SUCCESS)
        client->ended = true;
}

/* Connects; false when the broker does not let it in. */
static bool client_connect(struct client *client)
{
    if (mosquitto_connect(client->mqtt, "localhost", client->port, 60) != MOSQ_ERR_SUCCESS)
        return false;
    for (int64_t end = clock_mono_ms() + PATIENCE_MS; clock_mono_ms() < end && !client->connected && !client->ended;)
        turn(client);
    return client->connected;
}

static void client_end(struct client *client)
{
    (void)mosquitto_disconnect(client->mqtt);
    mosquitto_destroy(client->mqtt);
}
#define cleanup_client [[gnu::cleanup(client_end)]]

static void join(struct client *client, int port, const char *client_id, const char *certificate)
{
    client_new(client, port, client_id, certificate);
    assert_true(client_connect(client));
}

static void device_join(struct client *client, EVP_PKEY *key, const char *id)
{
    cleanup_certificate struct certificate issued = {0};
    pki_kit_device(&stage.pki, key, id, id, &issued);
    join(client, stage.port, id, id);
}

/* The three of most tests: two devices and a server that hears every device. */
struct cast {
    EVP_PKEY *key;
    struct client a, b, server;
};

static void cast_start(struct cast *cast)
{
    cast->key = EVP_EC_gen("P-256");
    device_join(&cast->a, cast->key, ID_A);
    device_join(&cast->b, cast->key, ID_B);
    join(&cast->server, stage.server_port, "one of many servers", "mqtt-client");
    char share[96];
    (void)snprintf(share, sizeof share, "$share/%s/muster/v1/+/up/#", pki_share_name(stage.pki.pki));
    assert_int_equal(mosquitto_subscribe(cast->server.mqtt, NULL, share, 0), 0);
    assert_int_equal(mosquitto_subscribe(cast->a.mqtt, NULL, "muster/v1/" ID_A "/down/#", 0), 0);
    assert_int_equal(mosquitto_subscribe(cast->b.mqtt, NULL, "muster/v1/" ID_B "/down/#", 0), 0);
}

static void cast_turn(struct cast *cast)
{
    turn(&cast->a);
    turn(&cast->b);
    turn(&cast->server);
}

static void cast_end(struct cast *cast)
{
    client_end(&cast->a);
    client_end(&cast->b);
    client_end(&cast->server);
    EVP_PKEY_free(cast->key);
}
#define cleanup_cast [[gnu::cleanup(cast_end)]]

static void say(struct client *client, const char *topic, const char *text)
{
    assert_int_equal(mosquitto_publish(client->mqtt, NULL, topic, (int)strlen(text), text, 0, false), MOSQ_ERR_SUCCESS);
}

/* Turns until client has heard line, and then a little longer: what should not come would have come by then. */
static void settle(struct cast *cast, const struct client *client, const char *line)
{
    for (int64_t end = clock_mono_ms() + PATIENCE_MS; strstr(client->heard, line) == NULL;) {
        cast_turn(cast);
        if (clock_mono_ms() > end)
            fail_msg("waited for \"%s\", heard \"%s\"", line, client->heard);
    }
    for (int64_t end = clock_mono_ms() + QUIET_MS; clock_mono_ms() < end;)
        cast_turn(cast);
}

/* Subscriptions are sent, and answered, before anybody speaks. */
static void let_subscriptions_settle(struct cast *cast)
{
    for (int64_t end = clock_mono_ms() + QUIET_MS; clock_mono_ms() < end;)
        cast_turn(cast);
}

/* ---------------------------------------------------------------- tests */

static void device_and_server_hear_each_other(void **state)
{
    (void)state;
    cleanup_cast struct cast cast;
    cast_start(&cast);
    let_subscriptions_settle(&cast);
    say(&cast.a, "muster/v1/" ID_A "/up/beat", "1");
    settle(&cast, &cast.server, "muster/v1/" ID_A "/up/beat=1\n");
    say(&cast.server, "muster/v1/" ID_A "/down/desired", "2");
    settle(&cast, &cast.a, "muster/v1/" ID_A "/down/desired=2\n");
    assert_string_equal(cast.b.heard, "");
}

static void device_cannot_hear_others(void **state)
{
    (void)state;
    static const char *const wishes[] = {"#",
                                         "muster/v1/+/up/#",
                                         "muster/v1/+/down/#",
                                         "muster/v1/" ID_B "/#",
                                         "$share/musterd/muster/v1/+/up/#",
                                         "$share/x/muster/v1/" ID_B "/down/#",
                                         "$SYS/#"};
    cleanup_cast struct cast cast;
    cast_start(&cast);
    for (size_t i = 0; i < sizeof wishes / sizeof wishes[0]; i++)
        assert_int_equal(mosquitto_subscribe(cast.a.mqtt, NULL, wishes[i], 0), MOSQ_ERR_SUCCESS);
    let_subscriptions_settle(&cast);
    say(&cast.b, "muster/v1/" ID_B "/up/data", "secret");
    say(&cast.server, "muster/v1/" ID_B "/down/desired", "secret");
    say(&cast.server, "muster/v1/" ID_A "/down/ack", "fence");
    settle(&cast, &cast.a, "fence");
    assert_null(strstr(cast.a.heard, "secret"));
    assert_null(strstr(cast.a.heard, "$SYS"));
    assert_non_null(strstr(cast.b.heard, "secret"));
}

/* Mosquitto gives each message of a shared subscription to one of its members and asks the ACL after that. A device
 * that joined would hear nothing, and the servers would miss every other message: so the share's name is a secret. */
static void device_cannot_starve_the_servers_share(void **state)
{
    (void)state;
    cleanup_cast struct cast cast;
    cast_start(&cast);
    assert_int_equal(mosquitto_subscribe(cast.a.mqtt, NULL, "$share/musterd/muster/v1/+/up/#", 0), MOSQ_ERR_SUCCESS);
    let_subscriptions_settle(&cast);
    for (int i = 0; i < 20; i++) {
        char text[8];
        char line[64];
        (void)snprintf(text, sizeof text, "n%d", i);
        (void)snprintf(line, sizeof line, "/up/data=n%d\n", i);
        say(&cast.b, "muster/v1/" ID_B "/up/data", text);
        for (int64_t end = clock_mono_ms() + PATIENCE_MS; strstr(cast.server.heard, line) == NULL;) {
            cast_turn(&cast);
            if (clock_mono_ms() > end)
                fail_msg("message %d did not reach the server", i);
        }
    }
}

static void device_cannot_speak_for_others(void **state)
{
    (void)state;
    static const char *const topics[] = {"muster/v1/" ID_B "/up/beat",
                                         "muster/v1/" ID_B "/down/desired",
                                         "muster/v1/" ID_A "/down/desired",
                                         "muster/v1/up/beat",
                                         "$SYS/broker/version",
                                         "other"};
    cleanup_cast struct cast cast;
    cast_start(&cast);
    let_subscriptions_settle(&cast);
    for (size_t i = 0; i < sizeof topics / sizeof topics[0]; i++)
        say(&cast.a, topics[i], "forged");
    say(&cast.a, "muster/v1/" ID_A "/up/beat", "fence");
    settle(&cast, &cast.server, "fence");
    assert_string_equal(cast.server.heard, "muster/v1/" ID_A "/up/beat=fence\n");
    assert_string_equal(cast.a.heard, "");
    assert_string_equal(cast.b.heard, "");
}

static void servers_speak_down_only(void **state)
{
    (void)state;
    cleanup_cast struct cast cast;
    cast_start(&cast);
    let_subscriptions_settle(&cast);
    say(&cast.server, "muster/v1/" ID_B "/up/beat", "forged");
    say(&cast.b, "muster/v1/" ID_B "/up/beat", "fence");
    settle(&cast, &cast.server, "fence");
    assert_null(strstr(cast.server.heard, "forged"));
}

static void a_will_cannot_be_somebody_elses(void **state)
{
    (void)state;
    cleanup_cast struct cast cast;
    cast_start(&cast);
    let_subscriptions_settle(&cast);
    struct client liar;
    client_new(&liar, stage.port, "liar", ID_A); /* takes over A's connection: same certificate */
    assert_int_equal(mosquitto_will_set(liar.mqtt, "muster/v1/" ID_B "/up/gone", 6, "forged", 0, false),
                     MOSQ_ERR_SUCCESS);
    (void)client_connect(&liar);
    mosquitto_destroy(liar.mqtt); /* without a goodbye: the will is due */
    say(&cast.b, "muster/v1/" ID_B "/up/beat", "fence");
    settle(&cast, &cast.server, "fence");
    assert_null(strstr(cast.server.heard, "forged"));
}

static void a_client_id_gives_nothing(void **state)
{
    (void)state;
    cleanup_cast struct cast cast;
    cast_start(&cast);
    let_subscriptions_settle(&cast);
    cleanup_key EVP_PKEY *key = EVP_EC_gen("P-256");
    cleanup_certificate struct certificate issued = {0};
    pki_kit_device(&stage.pki, key, "cccccccccccccccccccccccccc", "thief", &issued);
    cleanup_client struct client thief;
    join(&thief, stage.port, ID_B, "thief"); /* says that it is B */
    assert_int_equal(mosquitto_subscribe(thief.mqtt, NULL, "muster/v1/" ID_B "/down/#", 0), MOSQ_ERR_SUCCESS);
    say(&thief, "muster/v1/" ID_B "/up/beat", "forged");
    for (int i = 0; i < 20; i++)
        turn(&thief);
    say(&cast.server, "muster/v1/" ID_B "/down/ack", "fence");
    settle(&cast, &cast.b, "fence"); /* B was not thrown out */
    for (int i = 0; i < 20; i++)
        turn(&thief);
    assert_true(cast.b.connected);
    assert_string_equal(thief.heard, "");
    assert_null(strstr(cast.server.heard, "forged"));
}

static bool lets_in(int port, const char *certificate)
{
    cleanup_client struct client client;
    client_new(&client, port, "x", certificate);
    return client_connect(&client);
}

static void servers_do_not_throw_each_other_out(void **state)
{
    (void)state;
    cleanup_cast struct cast cast;
    cast_start(&cast);
    cleanup_client struct client second;
    join(&second, stage.server_port, "another of many servers", "mqtt-client");
    let_subscriptions_settle(&cast);
    say(&second, "muster/v1/" ID_A "/down/desired", "of the second");
    settle(&cast, &cast.a, "of the second");
    assert_true(cast.server.connected);
}

static void only_clients_of_our_cas_get_in(void **state)
{
    (void)state;
    cleanup_pki_kit struct pki_kit other;
    pki_kit_start(&other);
    cleanup_key EVP_PKEY *key = EVP_EC_gen("P-256");
    cleanup_certificate struct certificate ours = {0};
    cleanup_certificate struct certificate foreign = {0};
    pki_kit_device(&stage.pki, key, ID_A, "ours", &ours);
    pki_kit_device(&other, key, ID_A, "foreign", &foreign);
    char path[128];
    path_of("foreign.pem", path);
    assert_int_equal(file_write(path, foreign.pem, strlen(foreign.pem), 0644), ERR_OK);
    path_of("foreign.key", path);
    assert_int_equal(pem_key_write(path, key, NULL), ERR_OK);
    assert_true(lets_in(stage.port, "ours"));
    assert_true(lets_in(stage.server_port, "mqtt-client"));
    assert_false(lets_in(stage.server_port, "ours"));
    assert_false(lets_in(stage.port, "mqtt-client"));
    static const char *const nobody[] = {NULL, "foreign", "musterd", "broker"}; /* the last two: ours, but servers' */
    for (size_t i = 0; i < sizeof nobody / sizeof nobody[0]; i++) {
        assert_false(lets_in(stage.port, nobody[i]));
        assert_false(lets_in(stage.server_port, nobody[i]));
    }
}

static void there_is_no_plain_text(void **state)
{
    (void)state;
    const int ports[] = {stage.port, stage.server_port};
    for (size_t i = 0; i < sizeof ports / sizeof ports[0]; i++) {
        struct client client = {.mqtt = mosquitto_new("plain", true, &client), .port = ports[i]};
        mosquitto_connect_callback_set(client.mqtt, connected);
        mosquitto_disconnect_callback_set(client.mqtt, disconnected);
        assert_false(client_connect(&client));
        client_end(&client);
    }
}

/* In MQTT 3.1.1 the client does not know the limit, so that the broker has to see to it. */
static void a_message_over_a_mebibyte_is_not_carried(void **state)
{
    (void)state;
    enum { SIZE = 1200 * 1024 };
    cleanup_cast struct cast cast;
    cast_start(&cast);
    let_subscriptions_settle(&cast);
    cleanup_client struct client old;
    client_new(&old, stage.port, "old", ID_A);
    assert_int_equal(mosquitto_int_option(old.mqtt, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V311), MOSQ_ERR_SUCCESS);
    assert_true(client_connect(&old));
    cleanup_free char *big = calloc(1, SIZE);
    assert_non_null(big);
    /* The broker may hang up while this is still being written. */
    old.ended =
        mosquitto_publish(old.mqtt, NULL, "muster/v1/" ID_A "/up/data", SIZE, big, 0, false) != MOSQ_ERR_SUCCESS;
    for (int64_t end = clock_mono_ms() + PATIENCE_MS; clock_mono_ms() < end && !old.ended;)
        turn(&old);
    assert_true(old.ended);
    say(&cast.b, "muster/v1/" ID_B "/up/beat", "fence");
    settle(&cast, &cast.server, "fence");
    assert_string_equal(cast.server.heard, "muster/v1/" ID_B "/up/beat=fence\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(device_and_server_hear_each_other),
        cmocka_unit_test(device_cannot_hear_others),
        cmocka_unit_test(device_cannot_starve_the_servers_share),
        cmocka_unit_test(device_cannot_speak_for_others),
        cmocka_unit_test(servers_speak_down_only),
        cmocka_unit_test(a_will_cannot_be_somebody_elses),
        cmocka_unit_test(a_client_id_gives_nothing),
        cmocka_unit_test(servers_do_not_throw_each_other_out),
        cmocka_unit_test(only_clients_of_our_cas_get_in),
        cmocka_unit_test(there_is_no_plain_text),
        cmocka_unit_test(a_message_over_a_mebibyte_is_not_carried),
    };
    return cmocka_run_group_tests(tests, broker_start, broker_stop);
}
