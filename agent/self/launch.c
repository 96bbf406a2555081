#include "agent/self/launch.h"

#include "common/base/log.h"
#include "common/base/process.h"
#include "common/base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LAUNCHES_MAX = 10 /* changes of mind in one go; each takes a version back, so more cannot happen */ };

/* ---- who am I ---- */

/* Path of this program; that of the new file when it was replaced while it ran. */
static void exe_read(char out[PATH_MAX])
{
    static const char gone[] = " (deleted)";
    (void)process_exe(out);
    size_t len = strlen(out);
    if (len > sizeof gone - 1 && text_eq(out + len - (sizeof gone - 1), gone))
        out[len - (sizeof gone - 1)] = '\0';
}

static void launch_init(int argc, char **argv, struct launch *launch, bool *ret_launched)
{
    const char *launcher = getenv("MUSTER_LAUNCHER"); /* no thread runs yet */
    const char *guarded = getenv("MUSTER_GUARDED");
    const char *refused = getenv("MUSTER_REFUSED");
    *launch = (struct launch){.argc = argc, .argv = argv};
    *ret_launched = launcher != NULL && launcher[0] == '/';
    launch->guarded = *ret_launched && text_eq(guarded, "1");
    launch->start_dir = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (refused != NULL)
        (void)text_copy(launch->refused, sizeof launch->refused, refused);
    if (!*ret_launched || !text_copy(launch->launcher, sizeof launch->launcher, launcher))
        exe_read(launch->launcher);
    (void)unsetenv("MUSTER_LAUNCHER");
    (void)unsetenv("MUSTER_GUARDED");
    (void)unsetenv("MUSTER_REFUSED");
}

/* ---- where is the state ---- */

static int ini_entry(void *user, const char *section, const char *name, const char *value)
{
    if (*section == '\0' && text_eq(name, "state_dir"))
        (void)text_copy(user, PATH_MAX, value);
    return 1;
}

/* The value of `--name=VALUE`, or of `--name`, which is in the next word. NULL: it is another flag. */
static const char *flag_value(const char *flag, const char *next, const char *name)
{
    size_t n = strlen(name);
    if (strncmp(flag, name, n) != 0)
        return NULL;
    return flag[n] == '=' ? flag + n + 1 : flag[n] == '\0' ? next : NULL;
}

void launch_state_dir(int argc, char **argv, char ret_dir[PATH_MAX], bool *ret_command)
{
    const char *conf = "/etc/muster/muster-agent.conf";
    const char *given = getenv("MUSTER_AGENT_STATE_DIR");
    int i = 1;
    *ret_command = false;
    while (i < argc && text_starts(argv[i], "--")) {
        const char *flag = argv[i++];
        bool ask = text_eq(flag, "--help") || text_eq(flag, "--version");
        const char *next = !ask && strchr(flag, '=') == NULL && i < argc ? argv[i++] : "";
        const char *value = flag_value(flag, next, "--config");
        conf = value != NULL ? value : conf;
        value = flag_value(flag, next, "--state-dir");
        value = value != NULL ? value : flag_value(flag, next, "--state_dir");
        given = value != NULL ? value : given;
        *ret_command = *ret_command || ask;
    }
    *ret_command = *ret_command || i < argc;
    (void)text_copy(ret_dir, PATH_MAX, "/var/lib/muster");
    (void)ini_parse(conf, ini_entry, ret_dir); /* what is wrong with it is told by the agent itself */
    if (given != NULL)
        (void)text_copy(ret_dir, PATH_MAX, given);
}

/* ---- going there ---- */

static void signals_reset(void)
{
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
}

void launch_exec(const struct launch *launch, const char *program, bool guarded)
{
    char path[PATH_MAX];
    if (realpath(program, path) == NULL || setenv("MUSTER_LAUNCHER", launch->launcher, 1) != 0 ||
        (guarded && setenv("MUSTER_GUARDED", "1", 1) != 0) ||
        (launch->refused[0] != '\0' && setenv("MUSTER_REFUSED", launch->refused, 1) != 0))
        return;
    if (launch->start_dir >= 0 && fchdir(launch->start_dir) != 0)
        return;
    signals_reset();
    (void)execv(path, launch->argv);
    int error = errno;
    (void)unsetenv("MUSTER_LAUNCHER");
    (void)unsetenv("MUSTER_GUARDED");
    (void)unsetenv("MUSTER_REFUSED");
    log_error("agent_not_executed", "program=%s error=\"%s\"", path, strerror(error));
}

[[gnu::noreturn]] void launch_again(const struct launch *launch)
{
    if (launch->guarded)
        _exit(LAUNCH_AGAIN);
    if (launch->start_dir >= 0 && fchdir(launch->start_dir) != 0)
        log_warn("start_directory_lost", "error=\"%s\"", strerror(errno));
    signals_reset();
    (void)execv(launch->launcher, launch->argv);
    log_error("launcher_not_executed", "program=%s error=\"%s\"", launch->launcher, strerror(errno));
    _exit(LAUNCH_AGAIN); /* whoever has started this starts it again */
}

void launch_choice(const struct launch *launch, char ret_dir[TRIAL_DIR_SIZE])
{
    struct store_facts facts;
    store_read(&facts);
    struct decide_plan plan = decide(&facts.facts);
    const char *dir = text_eq(plan.dir, launch->refused) ? "" : plan.dir;
    (void)text_copy(ret_dir, TRIAL_DIR_SIZE, dir);
}

/* The disk says that the version on trial is to run, and cannot be told otherwise: the one before runs beside what it
 * says, and does not give its place to the one that has failed. Returns when that is the installed one, or it cannot be
 * executed: then that one runs. */
static bool launch_beside(struct launch *launch, const struct trial *trial)
{
    char program[PATH_MAX];
    log_error("agent_not_taken_back", "bundle=%.12s action=\"%s runs\"", trial->bundle,
              trial->back[0] == '\0' ? "the installed agent" : trial->back);
    (void)text_copy(launch->refused, sizeof launch->refused, trial->version);
    if (trial->back[0] != '\0' && store_program(trial->back, program) == ERR_OK)
        launch_exec(launch, program, false);
    return false;
}

/* One round. True: decide again. */
static bool launch_once(struct launch *launch, bool command)
{
    struct store_facts facts;
    char program[PATH_MAX];
    store_read(&facts);
    struct decide_plan plan = decide(&facts.facts);
    if (plan.action == DECIDE_BASE || (command && plan.action != DECIDE_VERSION) || text_eq(plan.dir, launch->refused))
        return false;
    if (plan.action == DECIDE_BACK)
        return store_back(facts.facts.trial, &plan.verdict) == ERR_OK || launch_beside(launch, facts.facts.trial);
    if (store_program(plan.dir, program) != ERR_OK)
        return false;
    if (!text_eq(plan.dir, facts.current))
        log_error("agent_version_damaged", "version=%s action=\"the one before, %s\"", facts.current, plan.dir);
    if (plan.action == DECIDE_GUARD) {
        int status = guard_run(launch, &facts.trial, program);
        if (status != LAUNCH_AGAIN && status != LAUNCH_BESIDE)
            _exit(status);
        return status == LAUNCH_AGAIN || launch_beside(launch, &facts.trial);
    }
    launch_exec(launch, program, false);
    (void)text_copy(launch->refused, sizeof launch->refused, plan.dir); /* it is not tried again by this launcher */
    return true;
}

void launch(int argc, char **argv, struct launch *ret_launch)
{
    char dir[PATH_MAX];
    bool launched = false;
    bool command = false;
    launch_init(argc, argv, ret_launch, &launched);
    launch_state_dir(argc, argv, dir, &command);
    if (launched || ret_launch->start_dir < 0)
        return;
    bool again = true;
    for (int i = 0; i < LAUNCHES_MAX && again; i++) /* a refused exec has left the directory */
        again = fchdir(ret_launch->start_dir) == 0 && chdir(dir) == 0 && launch_once(ret_launch, command);
    if (fchdir(ret_launch->start_dir) != 0)
        log_warn("start_directory_lost", "error=\"%s\"", strerror(errno));
}
