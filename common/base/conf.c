#include "common/base/conf.h"

#include "common/base/text.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct conf {
    const struct conf_program *program;
    char *values[]; /* one per option, owned; NULL: not given */
};

/* State of one reading of a file, for inih's callback. */
struct file_reader {
    struct conf *conf;
    const char *path;
    struct err_info *info;
    enum err error;
};

static size_t option_index(const struct conf_program *program, const char *key)
{
    for (size_t i = 0; i < program->count; i++)
        if (strcmp(program->options[i].key, key) == 0)
            return i;
    return program->count;
}

static bool bool_parse(const char *text, bool *ret_value)
{
    bool yes = text_eq(text, "true") || text_eq(text, "yes") || text_eq(text, "on");
    bool no = text_eq(text, "false") || text_eq(text, "no") || text_eq(text, "off");
    if (yes || no)
        *ret_value = yes;
    return yes || no;
}

static enum err value_check(const struct conf_option *option, const char *text, const char *source,
                            struct err_info *info)
{
    int64_t whole = 0;
    double number = 0;
    bool flag = false;
    switch (option->type) {
    case CONF_INT:
        if (text_to_i64(text, (int64_t)option->min, (int64_t)option->max, &whole) != ERR_OK)
            return err_field(info, ERR_INVALID, option->key,
                             "%s: %s = \"%.80s\": a whole number from %.0f to %.0f is expected", source, option->key,
                             text, option->min, option->max);
        return ERR_OK;
    case CONF_NUMBER:
        if (text_to_f64(text, option->min, option->max, &number) != ERR_OK)
            return err_field(info, ERR_INVALID, option->key, "%s: %s = \"%.80s\": a number from %g to %g is expected",
                             source, option->key, text, option->min, option->max);
        return ERR_OK;
    case CONF_BOOL:
        if (!bool_parse(text, &flag))
            return err_field(info, ERR_INVALID, option->key, "%s: %s = \"%.80s\": true or false is expected", source,
                             option->key, text);
        return ERR_OK;
    case CONF_TEXT:
    case CONF_PATH:
        return ERR_OK;
    }
    return ERR_INTERNAL;
}

static enum err value_set(struct conf *conf, size_t index, const char *text, const char *source, struct err_info *info)
{
    enum err e = value_check(&conf->program->options[index], text, source, info);
    if (e != ERR_OK)
        return e;
    char *copy = strdup(text);
    if (copy == NULL)
        return ERR_NO_MEMORY;
    free(conf->values[index]);
    conf->values[index] = copy;
    return ERR_OK;
}

static int file_entry(void *user, const char *section, const char *name, const char *value)
{
    struct file_reader *reader = user;
    if (reader->error != ERR_OK)
        return 0; /* inih goes on after an error; the first one is told */
    size_t index = option_index(reader->conf->program, name);
    if (*section != '\0') {
        reader->error =
            err_set(reader->info, ERR_INVALID, "%s: section [%s] is not known; this file has plain `key = value` lines",
                    reader->path, section);
        return 0;
    }
    if (index == reader->conf->program->count) {
        reader->error = err_field(reader->info, ERR_INVALID, name, "%s: unknown key \"%s\"; `%s --help` lists the keys",
                                  reader->path, name, reader->conf->program->name);
        return 0;
    }
    reader->error = value_set(reader->conf, index, value, reader->path, reader->info);
    return reader->error == ERR_OK;
}

static enum err file_load(struct conf *conf, const char *path, bool required, struct err_info *info)
{
    if (access(path, R_OK) != 0) {
        if (errno == ENOENT && !required)
            return ERR_OK;
        return err_set(info, err_from_errno(errno), "%s: cannot read the configuration file: %s", path,
                       strerror(errno));
    }
    struct file_reader reader = {.conf = conf, .path = path, .info = info};
    int line = ini_parse(path, file_entry, &reader);
    if (reader.error != ERR_OK)
        return reader.error;
    if (line != 0)
        return err_set(info, ERR_INVALID, "%s: line %d is not `key = value`", path, line);
    return ERR_OK;
}

static void name_upper(const char *name, char *out, size_t size)
{
    size_t i = 0;
    for (; name[i] != '\0' && i + 1 < size; i++)
        out[i] = name[i] == '-' ? '_' : (char)toupper((unsigned char)name[i]);
    out[i] = '\0';
}

static enum err environment_load(struct conf *conf, struct err_info *info)
{
    char prefix[64];
    name_upper(conf->program->name, prefix, sizeof prefix);
    for (size_t i = 0; i < conf->program->count; i++) {
        char key[64];
        char variable[160];
        name_upper(conf->program->options[i].key, key, sizeof key);
        (void)snprintf(variable, sizeof variable, "%s_%s", prefix, key);
        const char *value = getenv(variable); /* before threads start */
        enum err e = value == NULL ? ERR_OK : value_set(conf, i, value, variable, info);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

/* `--beat-s=5` -> key "beat_s", value "5" or NULL when the value is the next word. */
static void flag_split(const char *arg, char key[64], const char **ret_value)
{
    const char *name = arg + 2;
    size_t n = strcspn(name, "=");
    *ret_value = name[n] == '=' ? name + n + 1 : NULL;
    n = n < 63 ? n : 63;
    for (size_t i = 0; i < n; i++)
        key[i] = name[i] == '-' ? '_' : name[i];
    key[n] = '\0';
}

/* Takes one flag at argv[*i]; a value in the next word moves *i. */
static enum err flag_load(struct conf *conf, int argc, char **argv, int *i, struct err_info *info)
{
    char key[64];
    const char *value = NULL;
    const char *flag = argv[*i];
    flag_split(flag, key, &value);
    size_t index = option_index(conf->program, key);
    if (index == conf->program->count)
        return err_field(info, ERR_INVALID, key, "unknown flag \"%s\"; `%s --help` lists the flags", flag,
                         conf->program->name);
    if (value == NULL && conf->program->options[index].type == CONF_BOOL)
        value = "true";
    if (value == NULL && *i + 1 < argc)
        value = argv[++*i];
    if (value == NULL)
        return err_field(info, ERR_INVALID, key, "flag %s needs a value", flag);
    return value_set(conf, index, value, flag, info);
}

/* First pass over the flags: the questions, and where the file is. */
static const char *flags_scan(int argc, char **argv, char *ret_ask)
{
    const char *file = NULL;
    for (int i = 1; i < argc && text_starts(argv[i], "--") && argv[i][2] != '\0'; i++) {
        if (text_eq(argv[i], "--help"))
            *ret_ask = 'h';
        else if (text_eq(argv[i], "--version"))
            *ret_ask = 'v';
        else if (text_starts(argv[i], "--config="))
            file = argv[i] + strlen("--config=");
        else if (text_eq(argv[i], "--config") && i + 1 < argc)
            file = argv[++i];
        else if (strchr(argv[i], '=') == NULL && i + 1 < argc && !text_starts(argv[i + 1], "--"))
            i++; /* the value of another flag; a bool's neighbour is looked at again in the second pass */
    }
    return file;
}

static enum err flags_load(struct conf *conf, int argc, char **argv, int *ret_rest, struct err_info *info)
{
    int i = 1;
    for (; i < argc && text_starts(argv[i], "--"); i++) {
        if (text_eq(argv[i], "--")) {
            i++;
            break;
        }
        if (text_eq(argv[i], "--config")) {
            i++;
            continue;
        }
        if (text_starts(argv[i], "--config="))
            continue;
        enum err e = flag_load(conf, argc, argv, &i, info);
        if (e != ERR_OK)
            return e;
    }
    *ret_rest = i;
    return ERR_OK;
}

static enum err defaults_load(struct conf *conf, const char *path, struct err_info *info)
{
    for (size_t i = 0; i < conf->program->count; i++) {
        const struct conf_option *option = &conf->program->options[i];
        if (conf->values[i] != NULL)
            continue;
        if (option->fallback == NULL)
            return err_field(info, ERR_INVALID, option->key, "%s is not set: put `%s = ...` into %s or give --%s (%s)",
                             option->key, option->key, path, option->key, option->help);
        enum err e = value_set(conf, i, option->fallback, "built-in default", info);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

enum err conf_load(const struct conf_program *program, int argc, char **argv, struct conf **ret_conf, int *ret_rest,
                   char *ret_ask, struct err_info *info)
{
    *ret_ask = 0;
    const char *given = flags_scan(argc, argv, ret_ask);
    struct conf *conf = calloc(1, sizeof *conf + program->count * sizeof conf->values[0]);
    if (conf == NULL)
        return ERR_NO_MEMORY;
    conf->program = program;
    if (*ret_ask != 0) {
        *ret_conf = conf;
        *ret_rest = argc;
        return ERR_OK;
    }
    char standard[160];
    (void)snprintf(standard, sizeof standard, "/etc/muster/%s.conf", program->name);
    const char *path = given != NULL ? given : standard;
    enum err e = file_load(conf, path, given != NULL, info);
    if (e == ERR_OK)
        e = environment_load(conf, info);
    if (e == ERR_OK)
        e = flags_load(conf, argc, argv, ret_rest, info);
    if (e == ERR_OK)
        e = defaults_load(conf, path, info);
    if (e != ERR_OK) {
        conf_free(conf);
        return e;
    }
    *ret_conf = conf;
    return ERR_OK;
}

void conf_free(struct conf *conf)
{
    if (conf == NULL)
        return;
    for (size_t i = 0; i < conf->program->count; i++)
        free(conf->values[i]);
    free(conf);
}

static const char *value_get(const struct conf *conf, const char *key)
{
    size_t index = option_index(conf->program, key);
    if (index == conf->program->count || conf->values[index] == NULL)
        abort(); /* a key that is not in the program's own table */
    return conf->values[index];
}

const char *conf_text(const struct conf *conf, const char *key)
{
    return value_get(conf, key);
}

int64_t conf_int(const struct conf *conf, const char *key)
{
    int64_t value = 0;
    if (text_to_i64(value_get(conf, key), INT64_MIN, INT64_MAX, &value) != ERR_OK)
        abort();
    return value;
}

double conf_number(const struct conf *conf, const char *key)
{
    double value = 0;
    if (text_to_f64(value_get(conf, key), -1e300, 1e300, &value) != ERR_OK)
        abort();
    return value;
}

bool conf_bool(const struct conf *conf, const char *key)
{
    bool value = false;
    if (!bool_parse(value_get(conf, key), &value))
        abort();
    return value;
}

void conf_help(const struct conf_program *program)
{
    printf("usage: %s\n\n%s\n\nOptions (also as `key = value` in /etc/muster/%s.conf, or as environment variables):\n",
           program->usage, program->summary, program->name);
    for (size_t i = 0; i < program->count; i++) {
        const struct conf_option *o = &program->options[i];
        char flag[64];
        (void)text_copy(flag, sizeof flag, o->key);
        for (char *c = flag; *c != '\0'; c++)
            if (*c == '_')
                *c = '-';
        printf("  --%-22s %s (%s%s)\n", flag, o->help, o->fallback == NULL ? "required" : "default: ",
               o->fallback == NULL    ? ""
               : *o->fallback == '\0' ? "none"
                                      : o->fallback);
    }
    printf("  --%-22s %s\n  --%-22s %s\n  --%-22s %s\n", "config FILE", "read this file instead", "help", "print this",
           "version", "print the version");
}
