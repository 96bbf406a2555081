#include "server/config.h"

#include "common/base/text.h"
#include "server/core/broker_list.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct conf_option OPTIONS[] = {
    {"database_url", CONF_TEXT, "postgresql:///muster", 0, 0, "PostgreSQL, as a libpq connection string"},
    {"listen", CONF_TEXT, "127.0.0.1", 0, 0, "address of both HTTPS ports; 0.0.0.0 or :: for all"},
    {"api_port", CONF_INT, "8443", 1, 65535, "port of the console and the API"},
    {"device_port", CONF_INT, "8444", 1, 65535, "port for devices, with mutual TLS"},
    {"public_url", CONF_TEXT, "", 0, 0, "how people reach the console, for messages"},
    {"pki_dir", CONF_PATH, "/etc/muster/pki", 0, 0, "certificates and keys, made by `musterd pki init`"},
    {"trust_dir", CONF_PATH, "/etc/muster/keys", 0, 0, "public release keys (*.pub) that may sign bundles"},
    {"cache_dir", CONF_PATH, "/var/cache/muster", 0, 0, "bundles by digest, and uploads on their way"},
    {"cache_mb", CONF_INT, "10240", 1, 16777216, "most of cache_dir that bundles may take, MiB"},
    {"web_dir", CONF_PATH, "/usr/share/muster/web", 0, 0, "the console's files"},
    {"migrations_dir", CONF_PATH, "/usr/share/muster/migrations", 0, 0, "the schema, NNNN_name.sql"},
    {"broker_host", CONF_TEXT, "localhost", 0, 0, "MQTT broker this server connects to"},
    {"broker_port", CONF_INT, "8884", 1, 65535, "its port for servers, with mutual TLS"},
    {"brokers", CONF_TEXT, "", 0, 0, "brokers told to devices, HOST:PORT[,HOST:PORT]; empty: the one above, port 8883"},
    {"beat_s", CONF_NUMBER, "30", 0.2, 3600, "seconds between two beats of a device"},
    {"http_threads", CONF_INT, "2", 1, 64, "I/O threads of each port"},
    {"http_workers", CONF_INT, "4", 1, 256, "threads that run requests, each with a database connection"},
    {"http_connections", CONF_INT, "1000", 8, 100000, "most connections of each port"},
    {"ingest_writers", CONF_INT, "2", 1, 64, "threads that write telemetry, each with a database connection"},
    {"max_bundle_mb", CONF_INT, "2048", 1, 1048576, "largest bundle, MiB"},
    {"max_uploads_mb", CONF_INT, "16384", 1, 16777216, "all unfinished uploads together, MiB"},
    {"release_signatures", CONF_INT, "1", 1, 8, "how many different release keys must have signed a bundle"},
    {"statement_timeout_ms", CONF_INT, "10000", 100, 600000, "longest database statement, ms"},
    {"orchestrator_period_ms", CONF_INT, "500", 50, 60000, "time between two looks at the rollouts, ms"},
    {"alert_period_ms", CONF_INT, "1000", 100, 60000, "time between two looks at the alerts, ms"},
    {"delta_make", CONF_BOOL, "true", 0, 0, "make deltas between the versions that the fleet runs"},
    {"delta_effort", CONF_TEXT, "best", 0, 0, "best (smallest) or fast"},
    {"delta_threads", CONF_INT, "1", 0, 256, "threads that make one delta; 0: one per core"},
    {"delta_memory_mb", CONF_INT, "4096", 64, 16777216, "most memory of the process that makes one, MiB"},
    {"delta_timeout_s", CONF_INT, "3600", 1, 604800, "most time for one, s"},
    {"delta_saving_mb", CONF_INT, "1", 0, 16777216, "least bytes that a delta must save over the fleet, MiB"},
    {"delta_lease_s", CONF_NUMBER, "60", 1, 3600, "a server that is silent for so long has lost its delta, s"},
    {"delta_period_ms", CONF_INT, "2000", 50, 600000, "time between two looks at what deltas are wanted, ms"},
    {"session_idle_s", CONF_INT, "1800", 300, 604800, "a login ends when it was not used for so long, s"},
    {"session_max_s", CONF_INT, "43200", 60, 2592000, "a login ends after so long at the latest, s"},
    {"login_per_minute", CONF_INT, "10", 1, 100000, "logins tried a minute, by address and by account"},
    {"enrol_per_minute", CONF_INT, "60", 1, 100000, "enrolments tried a minute, by address"},
    {"log_level", CONF_TEXT, "info", 0, 0, "debug, info, warn or error"},
};

const struct conf_program config_musterd = {
    .name = "musterd",
    .usage = "musterd [OPTIONS] [COMMAND]",
    .summary = "The server of Muster: console, API, device port, telemetry ingest, rollouts and alerts.\n"
               "Start any number on the same database.\n"
               "\n"
               "Commands:\n"
               "  (none)                          serve, until SIGTERM or SIGINT\n"
               "  migrate                         bring the database's schema up to date, and say what was done\n"
               "  pki init --host NAME[,NAME]     make the certificates and keys in pki_dir; what is there is kept\n"
               "  user reset-password NAME        print a one-time password; makes `admin` if it is not there\n"
               "  token create NAME --role ROLE   print a new API token; viewer, operator, releaser or admin",
    .options = OPTIONS,
    .count = sizeof OPTIONS / sizeof OPTIONS[0],
};

enum err config_log_level(const struct conf *conf, enum log_level *ret_level, struct err_info *info)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    static const enum log_level levels[] = {LOG_DEBUG_, LOG_INFO_, LOG_WARN_, LOG_ERROR_};
    const char *text = conf_text(conf, "log_level");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (text_eq(text, names[i])) {
            *ret_level = levels[i];
            return ERR_OK;
        }
    return err_field(info, ERR_INVALID, "log_level", "log_level = \"%.40s\": debug, info, warn or error is expected",
                     text);
}

static enum err brokers_check(const struct conf *conf, struct err_info *info)
{
    const char *brokers = conf_text(conf, "brokers");
    struct err_info why = {};
    json_t *list = NULL;
    enum err e = *brokers == '\0' ? ERR_OK : broker_list_parse(brokers, &list, &why);
    json_decref(list);
    return e == ERR_OK ? e : err_field(info, e, "brokers", "brokers = \"%.80s\": %s", brokers, why.text);
}

enum err config_check(const struct conf *conf, struct err_info *info)
{
    if (conf_int(conf, "api_port") == conf_int(conf, "device_port"))
        return err_field(info, ERR_INVALID, "device_port", "api_port and device_port are both %" PRId64,
                         conf_int(conf, "api_port"));
    if (conf_int(conf, "session_idle_s") > conf_int(conf, "session_max_s"))
        return err_field(info, ERR_INVALID, "session_idle_s", "session_idle_s is more than session_max_s");
    const char *effort = conf_text(conf, "delta_effort");
    if (!text_eq(effort, "best") && !text_eq(effort, "fast"))
        return err_field(info, ERR_INVALID, "delta_effort", "delta_effort = \"%.40s\": best or fast is expected",
                         effort);
    return brokers_check(conf, info);
}

enum err config_brokers(const struct conf *conf, char **ret_brokers)
{
    const char *brokers = conf_text(conf, "brokers");
    char *text = NULL;
    const char *host = conf_text(conf, "broker_host");
    const int port = 8883; /* the devices' listener; broker_port is the servers' one */
    int n = 0;
    if (*brokers != '\0')
        n = asprintf(&text, "%s", brokers);
    else if (strchr(host, ':') != NULL) /* an IPv6 address */
        n = asprintf(&text, "[%s]:%d", host, port);
    else
        n = asprintf(&text, "%s:%d", host, port);
    if (n < 0)
        return ERR_NO_MEMORY;
    *ret_brokers = text;
    return ERR_OK;
}
