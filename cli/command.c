#include "cli/command.h"

#include "common/base/buf.h"
#include "common/base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- finding ---- */

/* Number of argv's words that are the command's name ("device hold" is two), 0 when they are not. */
static int name_match(const char *name, int argc, char **argv)
{
    int words = 0;
    for (const char *s = name; *s != '\0'; words++) {
        size_t n = strcspn(s, " ");
        if (words == argc || strlen(argv[words]) != n || memcmp(argv[words], s, n) != 0)
            return 0;
        s += n + (s[n] == ' ' ? 1 : 0);
    }
    return words;
}

const struct command *command_find(const struct command *const *tables, int argc, char **argv, int *ret_words)
{
    for (const struct command *const *table = tables; *table != NULL; table++)
        for (const struct command *c = *table; c->name != NULL; c++) {
            int words = name_match(c->name, argc, argv);
            if (words > 0) {
                *ret_words = words;
                return c;
            }
        }
    return NULL;
}

static bool is_group(const struct command *const *tables, const char *word)
{
    size_t n = strlen(word);
    for (const struct command *const *table = tables; *table != NULL; table++)
        for (const struct command *c = *table; c->name != NULL; c++)
            if (strncmp(c->name, word, n) == 0 && c->name[n] == ' ')
                return true;
    return false;
}

static enum err command_unknown(struct cli *cli, int argc, char **argv)
{
    enum err e =
        usage_error(cli, "there is no command \"%.60s%s%.60s\"", argv[0], argc > 1 ? " " : "", argc > 1 ? argv[1] : "");
    if (is_group(cli->tables, argv[0]))
        err_next(&cli->info, "`musterctl %s --help` lists the commands.", argv[0]);
    else
        err_next(&cli->info, "`musterctl --help` lists the commands.");
    return e;
}

/* ---- words and options ---- */

static const struct option *option_find(const struct command *command, const char *name, size_t len)
{
    for (const struct option *o = command->options; o != NULL && o->name != NULL; o++)
        if (strlen(o->name) == len && memcmp(o->name, name, len) == 0)
            return o;
    return NULL;
}

static const struct given *given_find(const struct cli *cli, const char *name, size_t i)
{
    for (size_t k = 0; k < cli->given_count; k++)
        if (strcmp(cli->given[k].option->name, name) == 0 && i-- == 0)
            return &cli->given[k];
    return NULL;
}

static enum err value_check(struct cli *cli, const struct option *o, const char *value)
{
    int64_t number = 0;
    if (o->kind != OPTION_LIST && given_find(cli, o->name, 0) != NULL)
        return usage_error(cli, "--%s is given twice", o->name);
    if (o->kind == OPTION_INT && text_to_i64(value, o->min, o->max, &number) != ERR_OK)
        return usage_error(cli, "--%s \"%.60s\": a whole number from %lld to %lld is expected", o->name, value,
                           (long long)o->min, (long long)o->max);
    return ERR_OK;
}

/* The one short option: where the output goes. */
static const char short_out[] = "-o";

/* Takes the option at argv[*i]; its value may be the next word. */
static enum err option_take(struct cli *cli, int argc, char **argv, int *i)
{
    const char *name = text_eq(argv[*i], short_out) ? "out" : argv[*i] + 2;
    size_t len = strcspn(name, "=");
    const char *value = name[len] == '=' ? name + len + 1 : NULL;
    const struct option *o = option_find(cli->command, name, len);
    if (o == NULL) {
        enum err e = usage_error(cli, "`musterctl %s` has no option \"%.60s\"", cli->command->name, argv[*i]);
        err_next(&cli->info, "`musterctl %s --help` lists its options.", cli->command->name);
        return e;
    }
    if (o->kind == OPTION_FLAG && value != NULL)
        return usage_error(cli, "--%s takes no value", o->name);
    if (o->kind == OPTION_FLAG || (o->kind == OPTION_MAYBE && value == NULL))
        value = "";
    else if (value == NULL && *i + 1 < argc)
        value = argv[++*i];
    if (value == NULL)
        return usage_error(cli, "--%s needs a value: %s", o->name, o->value);
    enum err e = value_check(cli, o, value);
    if (e == ERR_OK)
        cli->given[cli->given_count++] = (struct given){.option = o, .value = value};
    return e;
}

static enum err parts_check(struct cli *cli)
{
    const struct command *c = cli->command;
    for (const struct option *o = c->options; o != NULL && o->name != NULL; o++)
        if (o->required && given_find(cli, o->name, 0) == NULL)
            return usage_error(cli, "--%s %s is missing: %s", o->name, o->value, o->help);
    if (cli->word_count < c->words_min)
        return usage_error(cli, "`musterctl %s` needs %s", c->name, c->words);
    if (cli->word_count > c->words_max)
        return usage_error(cli, "`musterctl %s` does not take \"%.60s\"", c->name, cli->words[c->words_max]);
    return ERR_OK;
}

static enum err parts_take(struct cli *cli, int argc, char **argv)
{
    enum err e = ERR_OK;
    bool options = true;
    for (int i = 0; e == ERR_OK && i < argc; i++) {
        if (options && text_eq(argv[i], "--"))
            options = false;
        else if (options && (text_starts(argv[i], "--") || text_eq(argv[i], short_out)))
            e = option_take(cli, argc, argv, &i);
        else if (cli->word_count < CLI_WORDS_MAX)
            cli->words[cli->word_count++] = argv[i];
        else
            e = usage_error(cli, "more than %d words", CLI_WORDS_MAX);
    }
    return e == ERR_OK ? parts_check(cli) : e;
}

static bool help_asked(int argc, char **argv)
{
    for (int i = 0; i < argc && !text_eq(argv[i], "--"); i++)
        if (text_eq(argv[i], "--help"))
            return true;
    return false;
}

enum err command_parse(struct cli *cli, int argc, char **argv, bool *ret_help)
{
    int words = 0;
    if (argc <= 0)
        return usage_error(cli, "a command is missing; `musterctl --help` lists them");
    cli->command = command_find(cli->tables, argc, argv, &words);
    if (help_asked(argc, argv) && (cli->command != NULL || is_group(cli->tables, argv[0]))) {
        *ret_help = true;
        return ERR_OK;
    }
    if (cli->command == NULL)
        return command_unknown(cli, argc, argv);
    cli->given = calloc((size_t)argc, sizeof *cli->given);
    if (cli->given == NULL)
        return ERR_NO_MEMORY;
    *ret_help = false;
    return parts_take(cli, argc - words, argv + words);
}

/* ---- reading ---- */

const char *option_item(const struct cli *cli, const char *name, size_t i)
{
    const struct given *given = given_find(cli, name, i);
    return given == NULL ? NULL : given->value;
}

const char *option_text(const struct cli *cli, const char *name)
{
    return option_item(cli, name, 0);
}

bool option_given(const struct cli *cli, const char *name)
{
    return option_item(cli, name, 0) != NULL;
}

int64_t option_int(const struct cli *cli, const char *name, int64_t fallback)
{
    const char *text = option_item(cli, name, 0);
    int64_t value = fallback;
    if (text != NULL && text_to_i64(text, INT64_MIN, INT64_MAX, &value) != ERR_OK)
        abort(); /* checked when it was taken */
    return value;
}

enum err usage_error(struct cli *cli, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    cli->usage = true;
    return err_set(&cli->info, ERR_INVALID, "%s", text);
}

/* ---- help ---- */

static void indented(const char *lines)
{
    while (*lines != '\0') {
        size_t n = strcspn(lines, "\n");
        printf("  %.*s\n", (int)n, lines);
        lines += n + (lines[n] == '\n' ? 1 : 0);
    }
}

static void option_help(const struct option *o)
{
    char flag[64];
    if (o->kind == OPTION_MAYBE)
        (void)snprintf(flag, sizeof flag, "--%s[=%s]", o->name, o->value);
    else
        (void)snprintf(flag, sizeof flag, "--%s%s%s%s", o->name, o->value == NULL ? "" : " ",
                       o->value == NULL ? "" : o->value, o->kind == OPTION_LIST ? "..." : "");
    printf("  %-28s %s%s\n", flag, o->help, o->required ? " (required)" : "");
}

void command_help(const struct command *c)
{
    bool options = c->options != NULL;
    printf("usage: musterctl %s%s%s%s\n\n%s\n", c->name, *c->words == '\0' ? "" : " ", c->words,
           options ? " [OPTIONS]" : "", c->summary);
    if (*c->details != '\0')
        printf("\n%s\n", c->details);
    if (options)
        printf("\nOptions:\n");
    for (const struct option *o = c->options; o != NULL && o->name != NULL; o++)
        option_help(o);
    printf("\nExamples:\n");
    indented(c->examples);
    printf("\nSettings like --server and --output are listed by `musterctl --help`.\n");
}

enum err command_list(const struct command *const *tables, const char *prefix, struct buf *out)
{
    enum err e = ERR_OK;
    for (const struct command *const *table = tables; e == ERR_OK && *table != NULL; table++)
        for (const struct command *c = *table; e == ERR_OK && c->name != NULL; c++) {
            char call[64];
            (void)snprintf(call, sizeof call, "%s %s", c->name, c->words);
            if (text_starts(c->name, prefix))
                e = buf_addf(out, "  %-32s %s\n", call, c->summary);
        }
    return e;
}
