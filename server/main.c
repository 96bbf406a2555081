/* musterd: settings, then one of its commands. */

#include "common/base/json.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "common/base/version.h"
#include "server/admin.h"
#include "server/artifact/delta_work.h"
#include "server/config.h"
#include "server/migrate.h"
#include "server/pki/init.h"
#include "server/serve.h"

#include <stdio.h>
#include <string.h>

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* The words after the flags. */
struct words {
    int count;
    char **text;
};

static const char *word(const struct words *w, int i)
{
    return i < w->count ? w->text[i] : NULL;
}

static enum err database_open(const struct conf *conf, struct db **ret_db, struct err_info *info)
{
    cleanup_db struct db *db = NULL;
    enum err e = db_new(conf_text(conf, "database_url"), "musterd command", 0, &db);
    if (e == ERR_OK)
        e = db_connect(db, info);
    if (e == ERR_UNAVAILABLE)
        err_next(info, "check database_url, and that PostgreSQL runs and lets this user in");
    if (e != ERR_OK)
        return e;
    *ret_db = db;
    db = NULL;
    return ERR_OK;
}

/* A database with today's schema. */
static enum err database_open_ready(const struct conf *conf, struct db **ret_db, struct err_info *info)
{
    cleanup_db struct db *db = NULL;
    enum err e = database_open(conf, &db, info);
    if (e == ERR_OK)
        e = migrate_check(db, conf_text(conf, "migrations_dir"), info);
    if (e != ERR_OK)
        return e;
    *ret_db = db;
    db = NULL;
    return ERR_OK;
}

/* ---- commands: each prints what it did */

static enum err command_serve(const struct conf *conf, const struct words *w, struct err_info *info)
{
    (void)w;
    return serve(conf, info);
}

static enum err command_migrate(const struct conf *conf, const struct words *w, struct err_info *info)
{
    (void)w;
    cleanup_db struct db *db = NULL;
    int count = 0;
    enum err e = database_open(conf, &db, info);
    if (e == ERR_OK)
        e = migrate_run(db, conf_text(conf, "migrations_dir"), stdout, &count, info);
    if (e == ERR_OK)
        printf(count == 0 ? "nothing to do: the schema is up to date\n" : "the schema is up to date\n");
    return e;
}

static enum err command_pki_init(const struct conf *conf, const struct words *w, struct err_info *info)
{
    return pki_init(conf_text(conf, "pki_dir"), word(w, 3), stdout, info);
}

static enum err command_reset_password(const struct conf *conf, const struct words *w, struct err_info *info)
{
    cleanup_db struct db *db = NULL;
    char password[PASSWORD_ONE_TIME_SIZE];
    enum err e = database_open_ready(conf, &db, info);
    if (e == ERR_OK)
        e = admin_reset_password(db, word(w, 2), password, info);
    if (e == ERR_OK)
        printf("one-time password of %s: %s\n", word(w, 2), password);
    return e;
}

static enum err command_create_token(const struct conf *conf, const struct words *w, struct err_info *info)
{
    cleanup_db struct db *db = NULL;
    char token[SECRET_TEXT_MAX];
    enum err e = database_open_ready(conf, &db, info);
    if (e == ERR_OK)
        e = admin_create_token(db, word(w, 2), word(w, 4), token, info);
    if (e == ERR_OK)
        printf("%s\n", token);
    return e;
}

/* A command's words; NULL stands for one word of the user's. */
static const struct command {
    const char *words[5];
    int count;
    enum err (*run)(const struct conf *conf, const struct words *w, struct err_info *info);
} COMMANDS[] = {
    {{}, 0, command_serve},
    {{"migrate"}, 1, command_migrate},
    {{"pki", "init", "--host", NULL}, 4, command_pki_init},
    {{"user", "reset-password", NULL}, 3, command_reset_password},
    {{"token", "create", NULL, "--role", NULL}, 5, command_create_token},
};

static const struct command *command_find(const struct words *w)
{
    for (size_t i = 0; i < sizeof COMMANDS / sizeof COMMANDS[0]; i++) {
        bool same = COMMANDS[i].count == w->count;
        for (int n = 0; same && n < w->count; n++)
            same = COMMANDS[i].words[n] == NULL || strcmp(COMMANDS[i].words[n], w->text[n]) == 0;
        if (same)
            return &COMMANDS[i];
    }
    return NULL;
}

static int fail(const struct err_info *info, enum err e)
{
    (void)fprintf(stderr, "musterd: %s\n", info->text[0] != '\0' ? info->text : err_name(e));
    if (info->next[0] != '\0')
        (void)fprintf(stderr, "musterd: %s\n", info->next);
    return EXIT_FAILED;
}

static int run(const struct conf *conf, const struct words *w)
{
    struct err_info info = {.offset = -1};
    enum log_level level = LOG_INFO_;
    const struct command *command = command_find(w);
    if (command == NULL) {
        (void)fprintf(stderr, "usage: %s\n\n%s\n", config_musterd.usage, config_musterd.summary);
        return EXIT_USAGE;
    }
    enum err e = config_log_level(conf, &level, &info);
    if (e == ERR_OK)
        e = config_check(conf, &info);
    if (e != ERR_OK)
        return fail(&info, e);
    log_level_set(level);
    json_start();
    e = command->run(conf, w, &info);
    return e == ERR_OK ? 0 : fail(&info, e);
}

int main(int argc, char **argv)
{
    struct err_info info = {.offset = -1};
    struct conf *conf = NULL;
    int rest = 0;
    char ask = 0;
    if (argc > 1 && strcmp(argv[1], DELTA_WORK_COMMAND) == 0)
        return delta_work_main(argc - 2, argv + 2); /* a child of a server: it has all it needs in argv */
    enum err e = conf_load(&config_musterd, argc, argv, &conf, &rest, &ask, &info);
    if (e != ERR_OK)
        return fail(&info, e);
    int code = 0;
    if (ask == 'h')
        conf_help(&config_musterd);
    else if (ask == 'v')
        printf("musterd %s\n", MUSTER_VERSION);
    else
        code = run(conf, &(struct words){.count = argc - rest, .text = argv + rest});
    conf_free(conf);
    return code;
}
