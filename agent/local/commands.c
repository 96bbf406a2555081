#include "agent/local/commands.h"

#include "agent/local/ask.h"
#include "agent/local/offline.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "common/base/version.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_REFUSED = 1, EXIT_USAGE = 64, BY_SIZE = 48, START_TRIES = 25, START_STEP_MS = 200 };

/* ---- words and flags ---- */

/* Does this flag take the next word as its value? */
static bool flag_takes_word(const struct conf_program *program, const char *flag)
{
    if (strchr(flag, '=') != NULL || text_eq(flag, "--help") || text_eq(flag, "--version"))
        return false;
    for (size_t i = 0; i < program->count; i++) {
        const char *key = program->options[i].key;
        size_t n = strlen(key);
        bool same = strlen(flag) == n + 2;
        for (size_t k = 0; same && k < n; k++)
            same = flag[k + 2] == (key[k] == '_' ? '-' : key[k]);
        if (same)
            return program->options[i].type != CONF_BOOL;
    }
    return text_eq(flag, "--config");
}

/* Flags first, then words, which conf_load() stops at. Returns how many words there are. */
static int words_sort(const struct conf_program *program, int argc, char **argv, char **sorted)
{
    int flags = 1;
    int words = 0;
    sorted[0] = argv[0];
    for (int i = 1; i < argc; i++) {
        if (!text_starts(argv[i], "--")) {
            words++;
            continue;
        }
        sorted[flags++] = argv[i];
        if (flag_takes_word(program, argv[i]) && i + 1 < argc)
            sorted[flags++] = argv[++i];
    }
    int at = flags;
    for (int i = 1; i < argc; i++) {
        if (text_starts(argv[i], "--"))
            i += flag_takes_word(program, argv[i]) ? 1 : 0;
        else
            sorted[at++] = argv[i];
    }
    sorted[at] = NULL;
    return words;
}

const char *local_command(const struct conf_program *program, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (text_starts(argv[i], "--"))
            i += flag_takes_word(program, argv[i]) ? 1 : 0;
        else
            return argv[i];
    }
    return "";
}

/* The agent's settings, none of which is needed here, and the flags of the commands. free() the options. */
static enum err program_make(const struct conf_program *program, struct conf_program *ret_local,
                             struct conf_option **ret_options)
{
    static const struct conf_option more[] = {
        {"json", CONF_BOOL, "false", 0, 0, "status: as JSON, for programs"},
        {"yes", CONF_BOOL, "false", 0, 0, "rollback: do not ask"},
    };
    size_t extra = sizeof more / sizeof more[0];
    struct conf_option *options = calloc(program->count + extra, sizeof *options);
    if (options == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < program->count; i++) {
        options[i] = program->options[i];
        if (options[i].fallback == NULL)
            options[i].fallback = "";
    }
    memcpy(options + program->count, more, sizeof more);
    *ret_local = *program;
    ret_local->options = options;
    ret_local->count = program->count + extra;
    *ret_options = options;
    return ERR_OK;
}

static int fail(const struct err_info *info, enum err e)
{
    (void)fprintf(stderr, "muster-agent: %s%s%s\n", info->text[0] != '\0' ? info->text : err_name(e),
                  info->next[0] != '\0' ? "; " : "", info->next);
    return EXIT_REFUSED;
}

static enum err state_dir_enter(const struct conf *conf, struct err_info *info)
{
    const char *dir = conf_text(conf, "state_dir");
    if (chdir(dir) == 0)
        return ERR_OK;
    enum err e = err_field(info, err_from_errno(errno), "state_dir", "state_dir %s: %s", dir, strerror(errno));
    if (errno == EACCES)
        err_next(info, "run it as root, or as the user of the agent");
    else
        err_next(info, "name the directory with --state-dir, or the agent's settings with --config");
    return e;
}

/* ---- status ---- */

/* Of the running agent, or of its files. json_decref() it. */
static enum err status_try(const struct conf *conf, json_t **ret_status, struct err_info *info)
{
    json_auto_t *request = json_pack("{ss}", "op", "status");
    json_auto_t *answer = NULL;
    enum err e = ask_agent(request, &answer, info);
    if (e == ERR_NOT_FOUND) {
        *info = (struct err_info){.offset = -1};
        return offline_status(conf_text(conf, "server_url"), conf_text(conf, "name"), ret_status, info);
    }
    if (e != ERR_OK)
        return e;
    json_t *status = json_object_get(answer, "status");
    if (!json_is_object(status))
        return err_set(info, ERR_CORRUPT, "the agent's answer cannot be understood: is it of another version?");
    *ret_status = json_incref(status);
    return ERR_OK;
}

/* An agent that is just starting has its files already, and answers a moment later. */
static bool agent_starting(enum err e, int tries)
{
    if (e != ERR_UNAVAILABLE || tries >= START_TRIES)
        return false;
    clock_sleep_ms(START_STEP_MS);
    return true;
}

static enum err status_get(const struct conf *conf, json_t **ret_status, struct err_info *info)
{
    enum err e = ERR_OK;
    int tries = 0;
    do {
        *info = (struct err_info){.offset = -1};
        e = status_try(conf, ret_status, info);
    } while (agent_starting(e, tries++));
    return e;
}

static int status_print(const struct conf *conf)
{
    json_auto_t *status = NULL;
    cleanup_free char *text = NULL;
    struct err_info info = {.offset = -1};
    enum err e = status_get(conf, &status, &info);
    if (e == ERR_OK && conf_bool(conf, "json"))
        e = json_print(status, &text, NULL);
    else if (e == ERR_OK)
        e = status_words(status, clock_wall_ms(), &text);
    if (e != ERR_OK)
        return fail(&info, e);
    (void)fputs(text, stdout);
    if (conf_bool(conf, "json"))
        (void)putchar('\n');
    return EXIT_SUCCESS;
}

/* ---- rollback ---- */

static void by_whom(char out[BY_SIZE])
{
    const struct passwd *user = getpwuid(getuid());
    if (user != NULL)
        (void)text_copy(out, BY_SIZE, user->pw_name);
    else
        (void)snprintf(out, BY_SIZE, "uid %ld", (long)getuid());
}

/* Says what runs and what was before, and waits for a yes. */
static bool agreed(const struct conf *conf, const char *slot, struct err_info *info)
{
    json_auto_t *status = NULL;
    char line[16];
    if (conf_bool(conf, "yes"))
        return true;
    if (isatty(STDIN_FILENO) == 0) {
        (void)err_set(info, ERR_INVALID, "there is nobody to ask whether %.63s shall go back", slot);
        err_next(info, "say --yes");
        return false;
    }
    if (status_get(conf, &status, info) != ERR_OK)
        return false;
    const json_t *slots = json_object_get(status, "slots");
    for (size_t i = 0; i < json_array_size(slots); i++) {
        const json_t *s = json_array_get(slots, i);
        if (text_eq(json_text_or_null(s, "slot"), slot))
            (void)printf("%s: %s\n", slot, json_text_or_null(s, "text"));
    }
    (void)printf("Go back to the version before? [y/N] ");
    (void)fflush(stdout);
    bool yes = fgets(line, sizeof line, stdin) != NULL && (line[0] == 'y' || line[0] == 'Y');
    if (!yes)
        (void)err_set(info, ERR_INVALID, "nothing was changed");
    return yes;
}

static enum err rollback_ask(const char *slot, const char *by, char ret_text[STATUS_TEXT_SIZE], struct err_info *info)
{
    json_auto_t *request = json_pack("{ss ss ss}", "op", "rollback", "slot", slot, "by", by);
    json_auto_t *answer = NULL;
    bool ok = false;
    enum err e = ask_agent(request, &answer, info);
    if (e != ERR_OK)
        return e;
    const char *text = json_text_or_null(answer, "text");
    const char *detail = json_text_or_null(answer, "detail");
    if (json_get_bool(answer, "ok", &ok, NULL) != ERR_OK || !ok || text == NULL)
        return err_set(info, ERR_CONFLICT, "%s", detail == NULL ? "the agent's answer cannot be understood" : detail);
    (void)text_copy(ret_text, STATUS_TEXT_SIZE, text);
    return ERR_OK;
}

static enum err rollback_try(const char *slot, const char *by, char ret_text[STATUS_TEXT_SIZE], struct err_info *info)
{
    *info = (struct err_info){.offset = -1};
    enum err e = rollback_ask(slot, by, ret_text, info);
    if (e != ERR_NOT_FOUND)
        return e;
    *info = (struct err_info){.offset = -1};
    return offline_rollback(slot, by, ret_text, info);
}

static int rollback(const struct conf *conf, const char *slot)
{
    char by[BY_SIZE];
    char text[STATUS_TEXT_SIZE];
    struct err_info info = {.offset = -1};
    if (!agreed(conf, slot, &info))
        return fail(&info, ERR_INVALID);
    by_whom(by);
    enum err e = ERR_OK;
    int tries = 0;
    do
        e = rollback_try(slot, by, text, &info);
    while (agent_starting(e, tries++));
    if (e != ERR_OK)
        return fail(&info, e);
    (void)puts(text);
    return EXIT_SUCCESS;
}

/* ---- one command ---- */

static int usage(void)
{
    (void)fputs("usage: muster-agent status [--json] [--state-dir DIR | --config FILE]\n"
                "       muster-agent rollback SLOT [--yes] [--state-dir DIR | --config FILE]\n"
                "       muster-agent --help\n",
                stderr);
    return EXIT_USAGE;
}

static int command_do(const struct conf *conf, int count, char **words)
{
    struct err_info info = {.offset = -1};
    bool status = count == 1 && text_eq(words[0], "status");
    bool back = count == 2 && text_eq(words[0], "rollback");
    if (!status && !back)
        return usage();
    enum err e = state_dir_enter(conf, &info);
    if (e != ERR_OK)
        return fail(&info, e);
    return status ? status_print(conf) : rollback(conf, words[1]);
}

int local_run(const struct conf_program *program, int argc, char **argv)
{
    struct conf_program local;
    cleanup_free struct conf_option *options = NULL;
    cleanup_free char **sorted = calloc((size_t)argc + 1, sizeof *sorted);
    struct conf *conf = NULL;
    struct err_info info = {.offset = -1};
    int rest = 0;
    char ask = 0;
    log_level_set(LOG_ERROR_);
    enum err e = sorted == NULL ? ERR_NO_MEMORY : program_make(program, &local, &options);
    if (e != ERR_OK)
        return fail(&info, e);
    int words = words_sort(&local, argc, argv, sorted);
    e = conf_load(&local, argc, sorted, &conf, &rest, &ask, &info);
    if (e != ERR_OK)
        return fail(&info, e);
    int status = EXIT_SUCCESS;
    if (ask == 'h')
        conf_help(&local);
    else if (ask == 'v')
        (void)printf("muster-agent %s\n", MUSTER_VERSION);
    else
        status = command_do(conf, words, sorted + argc - words);
    conf_free(conf);
    return status;
}
