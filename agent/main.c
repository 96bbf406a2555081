/* muster-agent: settings, signals, the loop. */

#include "agent/agent.h"
#include "agent/local/commands.h"
#include "agent/self/launch.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/conf.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/process.h"
#include "common/base/text.h"
#include "common/base/version.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    EXIT_CONFIG = 78, /* EX_CONFIG of sysexits.h */
    NAME_MAX_LEN = 63,
    LOCK_TRIES = 20,
    LOCK_STEP_MS = 100
};

static const struct conf_option options[] = {
    {"name", CONF_TEXT, "", 0, 0, "name of the device, unique in the fleet; none: the host's name"},
    {"hardware", CONF_TEXT, "", 0, 0, "hardware id that bundles may ask for"},
    {"server_url", CONF_TEXT, NULL, 0, 0, "device port of the server, https://host:8444"},
    {"server_ca", CONF_PATH, NULL, 0, 0, "PEM file of the server's CA; no other is believed"},
    {"token", CONF_TEXT, "", 0, 0, "enrolment token; better in token_file"},
    {"token_file", CONF_PATH, "", 0, 0, "file with the enrolment token"},
    {"state_dir", CONF_PATH, "/var/lib/muster", 0, 0, "identity, journal, spool and installed versions"},
    {"trust_dir", CONF_PATH, "/etc/muster/keys", 0, 0, "public release keys, *.pub"},
    {"release_signatures", CONF_INT, "1", 1, 8, "how many different keys of trust_dir must have signed a bundle"},
    {"accelerators", CONF_TEXT, "", 0, 0, "accelerators that bundles may ask for, with commas between"},
    {"download_kbps", CONF_INT, "0", 0, 1e9, "most kbit/s of downloads, 0: as fast as it goes"},
    {"sysfs_root", CONF_PATH, "/sys", 0, 0, "directory that is laid out like /sys"},
    {"proc_root", CONF_PATH, "/proc", 0, 0, "directory that is laid out like /proc"},
    {"source", CONF_PATH, "", 0, 0, "file of float32 samples that muster-infer replays"},
    {"source_rate", CONF_NUMBER, "10", 0.001, 1e6, "samples per second of source"},
    {"onnxruntime", CONF_PATH, "", 0, 0, "ONNX Runtime library; none: let muster-infer search"},
    {"fetch_path", CONF_PATH, "", 0, 0, "muster-fetch; none: beside muster-agent, or in ../libexec/muster"},
    {"infer_path", CONF_PATH, "", 0, 0, "muster-infer; none: beside muster-agent, or in ../libexec/muster"},
    {"systemctl_path", CONF_PATH, "/usr/bin/systemctl", 0, 0, "systemctl, for apps that are systemd units"},
    {"agent_report_s", CONF_INT, "300", 1, 86400, "seconds in which a new version of the agent must reach the server"},
    {"health_s", CONF_NUMBER, "30", 0.2, 3600, "seconds between health readings"},
    {"data_s", CONF_NUMBER, "5", 0.2, 3600, "seconds between collections of inference counts"},
    {"poll_s", CONF_NUMBER, "900", 1, 86400, "seconds between questions for the desired state"},
    {"spool_mb", CONF_INT, "64", 1, 1e6, "most MiB of telemetry that wait for the server"},
    {"log_level", CONF_TEXT, "info", 0, 0, "debug, info, warn or error"},
};

static const struct conf_program program = {
    .name = "muster-agent",
    .usage = "muster-agent [OPTIONS] [status [--json] | rollback SLOT [--yes]]",
    .summary = "Runs on every device: keeps its models as the server wants them, and reports how they and the hardware "
               "do.\nSee muster-agent(8).\n\nstatus           what the agent does, in words or as JSON\n"
               "rollback SLOT    back to the version before, without any server",
    .options = options,
    .count = sizeof options / sizeof options[0],
};

/* Paths that have to survive the change into the state directory. */
struct paths {
    char state_dir[PATH_MAX], trust_dir[PATH_MAX], server_ca[PATH_MAX], token_file[PATH_MAX];
    char sysfs_root[PATH_MAX], proc_root[PATH_MAX], source[PATH_MAX], onnxruntime[PATH_MAX];
    char fetch_path[PATH_MAX], infer_path[PATH_MAX], systemctl_path[PATH_MAX];
    char name[NAME_MAX_LEN + 1];
};

/* Makes a path absolute; "" stays "". */
static enum err path_take(const struct conf *conf, const char *key, char out[PATH_MAX], struct err_info *info)
{
    char here[PATH_MAX];
    const char *path = conf_text(conf, key);
    bool relative = path[0] != '\0' && path[0] != '/';
    if (relative && getcwd(here, sizeof here) == NULL)
        return err_field(info, ERR_IO, key, "%s: the working directory cannot be read", key);
    int n = snprintf(out, PATH_MAX, "%s%s%s", relative ? here : "", relative ? "/" : "", path);
    if (n < 0 || n >= PATH_MAX)
        return err_field(info, ERR_INVALID, key, "%s: the path is too long", key);
    return ERR_OK;
}

/* The configured program, or the one that belongs to this version, or the one that was installed. */
static enum err program_find(const struct conf *conf, const struct launch *launch, const char *key, const char *name,
                             char out[PATH_MAX], struct err_info *info)
{
    char here[PATH_MAX];
    enum err e = path_take(conf, key, out, info);
    if (e != ERR_OK)
        return e;
    if (out[0] == '\0' && process_exe(here) &&
        (process_beside(here, name, out) || process_beside(launch->launcher, name, out)))
        return ERR_OK;
    if (access(out, X_OK) == 0)
        return ERR_OK;
    return err_field(info, ERR_NOT_FOUND, key, "%s: %s is not a program: %s", key, out, strerror(errno));
}

static enum err paths_take(const struct conf *conf, const struct launch *launch, struct paths *p, struct err_info *info)
{
    const struct {
        const char *key;
        char *out;
    } plain[] = {{"state_dir", p->state_dir},   {"trust_dir", p->trust_dir},     {"server_ca", p->server_ca},
                 {"token_file", p->token_file}, {"sysfs_root", p->sysfs_root},   {"proc_root", p->proc_root},
                 {"source", p->source},         {"onnxruntime", p->onnxruntime}, {"systemctl_path", p->systemctl_path}};
    enum err e = ERR_OK;
    for (size_t i = 0; e == ERR_OK && i < sizeof plain / sizeof plain[0]; i++)
        e = path_take(conf, plain[i].key, plain[i].out, info);
    if (e == ERR_OK)
        e = program_find(conf, launch, "fetch_path", "muster-fetch", p->fetch_path, info);
    if (e == ERR_OK && program_find(conf, launch, "infer_path", "muster-infer", p->infer_path, info) != ERR_OK)
        log_warn("infer_missing", "detail=\"%s\" action=\"everything but inference works\"", info->text);
    return e;
}

static bool name_ok(const char *name)
{
    static const char alnum[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    size_t len = strlen(name);
    size_t good = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    return len >= 1 && len <= NAME_MAX_LEN && good == len && strchr(alnum, name[0]) != NULL;
}

static enum err settings_check(const struct conf *conf, struct paths *p, struct err_info *info)
{
    const char *name = conf_text(conf, "name");
    if (name[0] == '\0' && gethostname(p->name, sizeof p->name) != 0)
        p->name[0] = '\0';
    if (name[0] != '\0' && !text_copy(p->name, sizeof p->name, name))
        p->name[0] = '\0';
    if (!name_ok(p->name))
        return err_field(info, ERR_INVALID, "name",
                         "name: 1 to %d letters, digits, dots, dashes and underscores are expected", NAME_MAX_LEN);
    if (!text_starts(conf_text(conf, "server_url"), "https://"))
        return err_field(info, ERR_INVALID, "server_url", "server_url: https://host:port is expected");
    if (access(p->server_ca, R_OK) != 0)
        return err_field(info, ERR_NOT_FOUND, "server_ca", "server_ca: %s: %s", p->server_ca, strerror(errno));
    if (p->source[0] != '\0' && access(p->source, R_OK) != 0)
        return err_field(info, ERR_NOT_FOUND, "source", "source: %s: %s", p->source, strerror(errno));
    return ERR_OK;
}

static enum err log_level_take(const struct conf *conf, struct err_info *info)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    for (int i = 0; i < 4; i++) {
        if (text_eq(conf_text(conf, "log_level"), names[i])) {
            log_level_set((enum log_level)i);
            return ERR_OK;
        }
    }
    return err_field(info, ERR_INVALID, "log_level", "log_level: debug, info, warn or error is expected");
}

static void settings_fill(const struct conf *conf, const struct paths *p, struct agent_settings *s)
{
    *s = (struct agent_settings){
        .enrolment = {.name = p->name,
                      .hardware = conf_text(conf, "hardware"),
                      .token = conf_text(conf, "token"),
                      .token_file = p->token_file},
        .supervisor = {.program = p->infer_path,
                       .onnxruntime = p->onnxruntime,
                       .source = p->source,
                       .source_rate = conf_number(conf, "source_rate")},
        .apps = {.systemctl = p->systemctl_path},
        .server_url = conf_text(conf, "server_url"),
        .server_ca = p->server_ca,
        .fetch_path = p->fetch_path,
        .trust_dir = p->trust_dir,
        .accelerators = conf_text(conf, "accelerators"),
        .signatures = conf_int(conf, "release_signatures"),
        .download_bytes_s = conf_int(conf, "download_kbps") * 1000 / 8,
        .sysfs_root = p->sysfs_root,
        .proc_root = p->proc_root,
        .report_s = (int)conf_int(conf, "agent_report_s"),
        .spool_bytes = conf_int(conf, "spool_mb") * 1024 * 1024,
        .health_ms = (int64_t)(conf_number(conf, "health_s") * 1000),
        .data_ms = (int64_t)(conf_number(conf, "data_s") * 1000),
        .poll_ms = (int64_t)(conf_number(conf, "poll_s") * 1000),
    };
}

/* Makes the state directory the working directory, and this the only agent in it. The lock is held by the open file. */
static enum err state_dir_enter(const char *dir, struct err_info *info)
{
    enum err e = file_make_dirs(dir, 0700);
    if (e != ERR_OK || chdir(dir) != 0)
        return err_field(info, e != ERR_OK ? e : err_from_errno(errno), "state_dir", "state_dir: %s: %s", dir,
                         strerror(errno));
    int fd = open("lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_field(info, err_from_errno(errno), "state_dir", "state_dir: %s/lock: %s", dir, strerror(errno));
    int held = flock(fd, LOCK_EX | LOCK_NB);
    for (int i = 0; held != 0 && i < LOCK_TRIES;
         i++) { /* one that was killed may need a moment to end, and so may a rollback by hand */
        clock_sleep_ms(LOCK_STEP_MS);
        held = flock(fd, LOCK_EX | LOCK_NB);
    }
    if (held != 0)
        return err_field(info, ERR_CONFLICT, "state_dir", "state_dir: another muster-agent runs in %s", dir);
    return ERR_OK;
}

/* ---- signals ---- */

static void signal_ready(void *user, short revents)
{
    (void)revents;
    loop_stop(user);
}

/* Before any thread starts: SIGTERM and SIGINT end the loop, a closed pipe is an error like any other. */
static enum err signals_watch(struct loop *loop, struct loop_watch *watch, struct err_info *info)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)signal(SIGPIPE, SIG_IGN);
    int fd = sigprocmask(SIG_BLOCK, &set, NULL) == 0 ? signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK) : -1;
    if (fd < 0)
        return err_set(info, ERR_IO, "cannot watch for signals: %s", strerror(errno));
    loop_watch_set(loop, watch, fd, POLLIN, signal_ready, loop);
    return ERR_OK;
}

static enum err agent_run(const struct conf *conf, const struct launch *launch, struct paths *paths, bool *ret_leaving,
                          struct err_info *info)
{
    struct loop loop = {0};
    struct loop_watch signals = {0};
    struct agent_settings settings;
    struct agent *agent = NULL;
    settings_fill(conf, paths, &settings);
    settings.launch = launch;
    enum err e = state_dir_enter(paths->state_dir, info);
    if (e == ERR_OK)
        e = signals_watch(&loop, &signals, info);
    if (e == ERR_OK)
        e = agent_open(&loop, &settings, &agent, info);
    if (e != ERR_OK)
        return e;
    log_info("started", "version=%s name=%s state_dir=%s", MUSTER_VERSION, paths->name, paths->state_dir);
    e = loop_run(&loop);
    *ret_leaving = e == ERR_OK && agent_leaving(agent);
    agent_close(agent);
    log_info("stopped", "error=%s", err_name(e));
    return e == ERR_OK ? ERR_OK : err_set(info, e, "the loop has ended: %s", err_name(e));
}

int main(int argc, char **argv)
{
    struct conf *conf = NULL;
    struct err_info info = {0};
    int rest = 0;
    char ask = 0;
    bool leaving = false;
    struct launch how;
    /* One arena that gives memory back: the agent is meant to be small. */
    (void)mallopt(M_ARENA_MAX, 1);
    (void)mallopt(M_TRIM_THRESHOLD, 64 * 1024);
    (void)mallopt(M_MMAP_THRESHOLD, 64 * 1024);
    (void)umask(077);
    json_start();
    if (local_command(&program, argc, argv)[0] != '\0')
        return local_run(&program, argc, argv);
    launch(argc, argv, &how);
    enum err e = conf_load(&program, argc, argv, &conf, &rest, &ask, &info);
    (void)unsetenv("MUSTER_AGENT_TOKEN"); /* not for the children */
    if (e == ERR_OK && ask != 0) {
        if (ask == 'h')
            conf_help(&program);
        else
            printf("muster-agent %s\n", MUSTER_VERSION);
        conf_free(conf);
        return EXIT_SUCCESS;
    }
    struct paths *paths = calloc(1, sizeof *paths);
    if (e == ERR_OK && paths == NULL)
        e = ERR_NO_MEMORY;
    if (e == ERR_OK && rest < argc)
        e = err_set(&info, ERR_INVALID, "\"%s\" is not a flag; `muster-agent --help` lists them", argv[rest]);
    if (e == ERR_OK)
        e = log_level_take(conf, &info);
    if (e == ERR_OK)
        e = paths_take(conf, &how, paths, &info);
    if (e == ERR_OK)
        e = settings_check(conf, paths, &info);
    if (e == ERR_OK)
        e = agent_run(conf, &how, paths, &leaving, &info);
    if (e != ERR_OK)
        (void)fprintf(stderr, "muster-agent: %s%s%s\n", info.text[0] != '\0' ? info.text : err_name(e),
                      info.next[0] != '\0' ? "\n" : "", info.next);
    free(paths);
    conf_free(conf);
    if (leaving)
        launch_again(&how);
    return e == ERR_OK ? EXIT_SUCCESS : EXIT_CONFIG;
}
