#pragma once
/* The settings of musterd. Each is a key of conf_*(): see the table in config.c, or `musterd --help`. */

#include "common/base/conf.h"

extern const struct conf_program config_musterd;

/* database_url            text    libpq connection string, required
 * listen                  text    address of both ports
 * api_port, device_port   int
 * public_url              text    how people reach the console; "" when not said
 * pki_dir, trust_dir, cache_dir, web_dir, migrations_dir   path
 * broker_host             text    required to serve
 * broker_port             int
 * brokers                 text    "host:port,host:port" told to devices; config_brokers() fills in the default
 * beat_s                  number  seconds between two beats of a device
 * http_threads, http_workers, http_connections   int
 * ingest_writers          int
 * max_bundle_mb           int     MiB
 * statement_timeout_ms, orchestrator_period_ms, alert_period_ms   int
 * session_idle_s, session_max_s   int
 * login_per_minute, enrol_per_minute   int
 * log_level               text    debug, info, warn, error */

/* What single values cannot say: log_level is known, brokers are host:port, ports differ. Errors name the key. */
[[nodiscard]] enum err config_check(const struct conf *conf, struct err_info *info);

/* The brokers that devices are told: `brokers`, or broker_host:broker_port. free() it. */
[[nodiscard]] enum err config_brokers(const struct conf *conf, char **ret_brokers);
