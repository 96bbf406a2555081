#pragma once
/* Settings of a program: built-in default < /etc/muster/NAME.conf < environment < flags.
 * One table per program says it all, and --help is printed from it. */

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum conf_type { CONF_TEXT, CONF_PATH, CONF_INT, CONF_NUMBER, CONF_BOOL };

struct conf_option {
    const char *key; /* "beat_s": file key `beat_s`, environment PREFIX_BEAT_S, flag --beat-s */
    enum conf_type type;
    const char *fallback; /* default as text; NULL: must be given */
    double min, max;      /* of CONF_INT and CONF_NUMBER */
    const char *help;     /* one line, with the unit */
};

struct conf_program {
    const char *name;    /* "musterd": file /etc/muster/musterd.conf, environment prefix MUSTERD_ */
    const char *usage;   /* "musterd [OPTIONS] [COMMAND]" */
    const char *summary; /* paragraphs printed below usage in --help; commands are listed here */
    const struct conf_option *options;
    size_t count;
};

struct conf;

/* Reads everything. --config FILE names the file (then it must exist); --help and --version are left to the caller by
 * ret_ask: 'h', 'v' or 0. Flags are `--key value`, `--key=value`, or `--key` alone for a bool; parsing stops at the
 * first word that is not a flag or at
 * "--"; ret_rest is its index in argv. Errors name the key and the file, variable or flag it came from. */
[[nodiscard]] enum err conf_load(const struct conf_program *program, int argc, char **argv, struct conf **ret_conf,
                                 int *ret_rest, char *ret_ask, struct err_info *info);
void conf_free(struct conf *conf);

/* A value that was checked by conf_load; key must be in the table with that type (a program error aborts).
 * Text is borrowed from conf. A CONF_TEXT or CONF_PATH may be "" when its default is "". */
const char *conf_text(const struct conf *conf, const char *key);
int64_t conf_int(const struct conf *conf, const char *key);
double conf_number(const struct conf *conf, const char *key);
bool conf_bool(const struct conf *conf, const char *key);

/* Prints usage, summary and the table of options with their defaults to stdout. */
void conf_help(const struct conf_program *program);
