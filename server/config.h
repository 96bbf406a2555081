#pragma once
/* The settings of musterd: each key of the table in config.c (`musterd --help` prints it) is read with conf_*(). */

#include "common/base/conf.h"
#include "common/base/log.h"

extern const struct conf_program config_musterd;

/* What single values cannot say: ports differ, limits fit together, brokers are HOST:PORT. Errors name the key. */
[[nodiscard]] enum err config_check(const struct conf *conf, struct err_info *info);

[[nodiscard]] enum err config_log_level(const struct conf *conf, enum log_level *ret_level, struct err_info *info);

/* The brokers that devices are told: `brokers`, or port 8883 of broker_host. free() it. */
[[nodiscard]] enum err config_brokers(const struct conf *conf, char **ret_brokers);
