#include "cli/run.h"

#include "cli/error.h"

#include "common/base/cleanup.h"
#include "common/base/text.h"
#include "common/base/version.h"

#include <stdio.h>

enum { EXIT_REFUSED = 1, EXIT_USAGE = 2, HELP_MAX = 32 * 1024 };

static const char about[] = "Command line of the Muster control plane, for people and for automation.\n\nCommands:\n";
static const char footer[] =
    "\n`musterctl COMMAND --help` explains a command. Settings may stand before or behind it.\n"
    "Exit status: 0 done, 1 refused or failed, 2 called wrongly.";

static void cli_free(struct cli *cli)
{
    if (cli->https != NULL)
        cli->https = cli->https_free(cli->https);
    free(cli->given);
    json_decref(cli->problem);
}

static void cleanup_conf_p(struct conf **conf)
{
    conf_free(*conf);
}

/* The settings program; summary is filled in for --help. */
static struct conf_program program_of(const char *summary)
{
    return (struct conf_program){.name = "musterctl",
                                 .usage = "musterctl [SETTINGS] COMMAND [WORDS] [OPTIONS]",
                                 .summary = summary,
                                 .options = settings_options,
                                 .count = settings_count};
}

static enum err help_print(const struct cli *cli)
{
    cleanup_buf struct buf text = BUF_INIT(HELP_MAX);
    enum err e = buf_add_text(&text, about);
    if (e == ERR_OK)
        e = command_list(cli->tables, "", &text);
    if (e == ERR_OK)
        e = buf_add_text(&text, footer);
    if (e != ERR_OK)
        return e;
    struct conf_program program = program_of(text.data);
    conf_help(&program);
    return ERR_OK;
}

/* Help of one command, or of all that begin with the first word. */
static enum err command_help_print(const struct cli *cli, const char *word)
{
    if (cli->command != NULL) {
        command_help(cli->command);
        return ERR_OK;
    }
    char prefix[64];
    cleanup_buf struct buf text = BUF_INIT(HELP_MAX);
    (void)snprintf(prefix, sizeof prefix, "%s ", word);
    enum err e = command_list(cli->tables, prefix, &text);
    if (e == ERR_OK)
        printf("usage: musterctl %s COMMAND\n\nCommands:\n%s", word, text.data);
    return e;
}

static enum err command_run(struct cli *cli, int argc, char **argv)
{
    bool help = false;
    const char *output = conf_text(cli->conf, "output");
    if (!text_eq(output, "table") && !text_eq(output, "json"))
        return usage_error(cli, "output = \"%.40s\": table or json is expected", output);
    enum err e = command_parse(cli, argc, argv, &help);
    if (e != ERR_OK)
        return e;
    return help ? command_help_print(cli, argv[0]) : cli->command->run(cli);
}

static int finish(struct cli *cli, enum err e)
{
    if (e == ERR_OK && (fflush(stdout) != 0 || ferror(stdout)))
        e = err_set(&cli->info, ERR_IO, "cannot write the output");
    if (e == ERR_OK)
        return 0;
    if (cli->usage && cli->info.next[0] == '\0' && cli->command != NULL)
        err_next(&cli->info, "`musterctl %s --help` shows how it is called.", cli->command->name);
    error_print(cli, e);
    return cli->usage ? EXIT_USAGE : EXIT_REFUSED;
}

int cli_run(const struct command *const *tables, int argc, char **argv)
{
    [[gnu::cleanup(cli_free)]] struct cli cli = {.tables = tables};
    [[gnu::cleanup(cleanup_conf_p)]] struct conf *conf = NULL;
    cleanup_free char **ordered = calloc((size_t)argc + 1, sizeof *ordered);
    struct conf_program program = program_of("");
    int rest = 0;
    char ask = 0;
    if (ordered == NULL)
        return finish(&cli, ERR_NO_MEMORY);
    json_start();
    (void)settings_first(argc, argv, ordered);
    enum err e = conf_load(&program, argc, ordered, &conf, &rest, &ask, &cli.info);
    if (e != ERR_OK) {
        cli.usage = true;
        return finish(&cli, e);
    }
    if (ask == 'h')
        return finish(&cli, help_print(&cli));
    if (ask == 'v') {
        puts("musterctl " MUSTER_VERSION);
        return finish(&cli, ERR_OK);
    }
    cli.conf = conf;
    return finish(&cli, command_run(&cli, argc - rest, ordered + rest));
}
