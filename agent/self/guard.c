/* The parent of a version on trial. */

#include "agent/self/launch.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/process.h"
#include "common/base/text.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LOOK_EVERY_MS = 1000, STOP_MAX_MS = 30 * 1000, EXIT_SIGNALLED = 128 };

struct guard {
    struct trial trial;
    pid_t child;
    int64_t started_ms, reported_ms; /* monotonic; reported_ms 0: not yet */
    int64_t stop_ms;                 /* monotonic, when it was told to end; 0: it was not */
    bool settled;                    /* the trial is over: this is only its parent now */
};

static sigset_t watched_signals(void)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    return set;
}

static pid_t child_begin(const struct launch *launch, const char *program)
{
    pid_t parent = getpid();
    pid_t child = fork();
    if (child != 0)
        return child;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent)
        launch_exec(launch, program, true);
    _exit(EXIT_SIGNALLED - 1);
}

/* What the child has written about its trial. */
static void trial_look(struct guard *g)
{
    struct trial now;
    enum err e = store_trial(&now);
    if (e == ERR_NOT_FOUND || (e == ERR_OK && !text_eq(now.version, g->trial.version))) {
        g->settled = true;
        log_info("agent_trial_over", "bundle=%.12s", g->trial.bundle);
    } else if (e == ERR_OK && now.reported && g->reported_ms == 0) {
        g->reported_ms = clock_mono_ms();
    }
}

/* Waits for a signal or a while. True: the child has ended with *ret_status. */
static bool child_wait(struct guard *g, int *ret_status)
{
    sigset_t set = watched_signals();
    const struct timespec while_ = {.tv_sec = LOOK_EVERY_MS / 1000, .tv_nsec = LOOK_EVERY_MS % 1000 * 1000000L};
    bool forever = g->settled && g->stop_ms == 0;
    int signal = forever ? sigwaitinfo(&set, NULL) : sigtimedwait(&set, NULL, &while_);
    if ((signal == SIGTERM || signal == SIGINT) && g->stop_ms == 0) {
        g->stop_ms = clock_mono_ms();
        (void)kill(g->child, SIGTERM);
    }
    if (g->stop_ms != 0 && clock_mono_ms() - g->stop_ms > STOP_MAX_MS)
        (void)kill(g->child, SIGKILL);
    return waitpid(g->child, ret_status, WNOHANG) == g->child;
}

static void child_kill(struct guard *g)
{
    int status = 0;
    (void)kill(g->child, SIGKILL);
    while (waitpid(g->child, &status, 0) < 0 && errno == EINTR)
        continue;
}

static int back(const struct guard *g, const char *code, const char *detail)
{
    struct verdict verdict = {.generation = g->trial.generation};
    (void)text_copy(verdict.bundle, sizeof verdict.bundle, g->trial.bundle);
    (void)text_copy(verdict.code, sizeof verdict.code, code);
    (void)text_copy(verdict.detail, sizeof verdict.detail, detail);
    return store_back(&g->trial, &verdict) == ERR_OK ? LAUNCH_AGAIN : LAUNCH_BESIDE;
}

static int status_code(int status)
{
    return WIFSIGNALED(status) ? EXIT_SIGNALLED + WTERMSIG(status) : WEXITSTATUS(status);
}

/* The child has ended. */
static int child_over(struct guard *g, int status)
{
    char detail[TRIAL_DETAIL_SIZE];
    bool again = WIFEXITED(status) && WEXITSTATUS(status) == LAUNCH_AGAIN;
    if (g->stop_ms != 0) { /* this was no failure of its own: the try does not count */
        struct trial now;
        if (store_trial(&now) == ERR_OK && text_eq(now.version, g->trial.version)) {
            now.tries++;
            (void)!store_trial_put(&now);
        }
        return status_code(status);
    }
    if (!g->settled)
        trial_look(g);
    if (again)
        return LAUNCH_AGAIN;
    if (g->settled)
        return status_code(status);
    if (WIFSIGNALED(status))
        (void)snprintf(detail, sizeof detail, "the new version was ended by signal %d (%s) after %lld s",
                       WTERMSIG(status), strsignal(WTERMSIG(status)),
                       (long long)(clock_mono_ms() - g->started_ms) / 1000);
    else
        (void)snprintf(detail, sizeof detail, "the new version has ended with exit status %d after %lld s",
                       WEXITSTATUS(status), (long long)(clock_mono_ms() - g->started_ms) / 1000);
    return back(g, "agent_crashed", detail);
}

/* The trial is over, but the child needs its parent until one of them ends, which may be in years: a program that is
 * next to nothing takes this one's place. Returns when it is not there; then this one stays. */
static void guard_shrink(const struct launch *launch, const struct guard *g)
{
    char program[PATH_MAX];
    char pid[16];
    const char **argv = calloc((size_t)launch->argc + 4, sizeof *argv);
    (void)snprintf(pid, sizeof pid, "%d", (int)g->child);
    if (argv != NULL && process_beside(launch->launcher, "muster-guard", program)) {
        argv[0] = "muster-guard";
        argv[1] = pid;
        argv[2] = launch->launcher;
        for (int n = 0; n < launch->argc; n++)
            argv[3 + n] = launch->argv[n];
        if (fchdir(launch->start_dir) == 0)
            (void)execv(program, (char *const *)argv); /* signals stay blocked: none is lost */
    }
    free(argv);
}

static int guard_watch(const struct launch *launch, struct guard *g)
{
    char detail[TRIAL_DETAIL_SIZE];
    int status = 0;
    for (;;) {
        if (child_wait(g, &status))
            return child_over(g, status);
        if (g->settled || g->stop_ms != 0)
            continue;
        trial_look(g);
        if (g->settled)
            guard_shrink(launch, g);
        int64_t now = clock_mono_ms();
        const char *code = g->settled ? NULL
                                      : decide_late(&g->trial, now - g->started_ms,
                                                    g->reported_ms == 0 ? -1 : now - g->reported_ms, detail);
        if (code != NULL) {
            child_kill(g);
            return back(g, code, detail);
        }
    }
}

int guard_run(const struct launch *launch, struct trial *trial, const char *program)
{
    sigset_t set = watched_signals();
    sigset_t before;
    trial->tries--;
    trial->reported = false;
    enum err e = store_trial_put(trial);
    if (e != ERR_OK) /* then only a guard that is killed again and again tries more often than it should */
        log_error("trial_not_written", "error=%s", err_name(e));
    (void)sigprocmask(SIG_BLOCK, &set, &before);
    struct guard g = {.trial = *trial, .started_ms = clock_mono_ms()};
    g.child = child_begin(launch, program);
    log_info("agent_trial", "bundle=%.12s version=%s pid=%d tries_left=%d", trial->bundle, trial->version, (int)g.child,
             trial->tries);
    int status = g.child < 0 ? back(&g, "agent_crashed", "no process could be made for the new version")
                             : guard_watch(launch, &g);
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    return status;
}
