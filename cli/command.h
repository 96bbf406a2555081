#pragma once
/* Commands as data: each resource in cli/commands/ exports one table. This module finds the command in argv, reads its
 * words and options, and prints help from the same tables. */

#include "common/base/buf.h"
#include "common/base/conf.h"
#include "common/base/err.h"
#include "common/base/json.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cli;

enum option_kind {
    OPTION_FLAG,
    OPTION_MAYBE, /* a flag that may have a value: --name or --name=VALUE; "" without one */
    OPTION_TEXT,
    OPTION_LIST,
    OPTION_INT
};

struct option {
    const char *name; /* without "--"; NULL ends a table */
    enum option_kind kind;
    const char *value; /* what help calls the value; NULL for a flag */
    const char *help;
    bool required;
    int64_t min, max; /* of OPTION_INT */
};

struct command {
    const char *name;  /* "device hold"; NULL ends a table */
    const char *words; /* what help calls its words: "NAME", "[QUERY]..."; "" for none */
    size_t words_min, words_max;
    const struct option *options; /* NULL for none */
    const char *summary;          /* one line */
    const char *details;          /* paragraphs; "" for none */
    const char *examples;         /* lines, without indentation */
    enum err (*run)(struct cli *cli);
};

enum { CLI_WORDS_MAX = 64 };

/* One option as it was given. */
struct given {
    const struct option *option;
    const char *value; /* "" for a flag */
};

/* One run of musterctl. What a command needs, and what it says when it fails. */
struct cli {
    const struct command *const *tables; /* the commands that there are, NULL-terminated */
    const struct conf *conf;
    const struct command *command;
    size_t word_count, given_count;
    const char *words[CLI_WORDS_MAX];                 /* borrowed from argv */
    struct given *given;                              /* owned */
    struct https *https;                              /* made by the first request, owned: */
    struct https *(*https_free)(struct https *https); /* what frees it */
    bool usage;                                       /* the error is in how it was called: exit status 2 */
    json_t *problem; /* what the API answered when it refused, owned; then info is empty */
    struct err_info info;
};

/* The command that argv begins with, NULL when none of the tables has it. ret_words: how many words its name has. */
const struct command *command_find(const struct command *const *tables, int argc, char **argv, int *ret_words);

/* Finds the command that argv begins with and reads the rest. ERR_INVALID with cli->usage set and info filled.
 * ret_help: help was asked for; then nothing but cli->command is filled, and that may be NULL. */
[[nodiscard]] enum err command_parse(struct cli *cli, int argc, char **argv, bool *ret_help);

/* Help of cli->command, to stdout. */
void command_help(const struct command *command);

/* Appends the list of all commands whose name begins with prefix ("" for all), one line each. */
[[nodiscard]] enum err command_list(const struct command *const *tables, const char *prefix, struct buf *out);

/* Options of this run. Text and list values are borrowed from argv. */
const char *option_text(const struct cli *cli, const char *name); /* NULL when absent */
int64_t option_int(const struct cli *cli, const char *name, int64_t fallback);
bool option_given(const struct cli *cli, const char *name);
/* The i-th value of a list, NULL behind the last. */
const char *option_item(const struct cli *cli, const char *name, size_t i);

/* Ends a command with "you called it wrongly" (exit status 2). */
[[nodiscard, gnu::format(printf, 2, 3)]] enum err usage_error(struct cli *cli, const char *fmt, ...);

/* The settings table of musterctl, and the order that lets settings stand anywhere: those in argv are moved to its
 * front, as conf_load wants them. out has room for argc + 1 pointers. Returns where in it the command begins. */
extern const struct conf_option settings_options[];
extern const size_t settings_count;
int settings_first(int argc, char **argv, char **out);

/* --output json was asked for. */
bool wants_json(const struct cli *cli);
