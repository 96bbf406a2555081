/* muster-guard: what is left of the guard of a new muster-agent when its trial is over. muster-agent becomes this
 * program, with its process id, its child and its blocked signals; it needs nothing but the C library, so that next to
 * nothing stays in memory. See muster-agent(8). */

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    EXIT_USAGE = 64,
    EXIT_SIGNALLED = 128,
    LAUNCH_AGAIN = 76, /* agent/self/launch.h */
    STOP_MAX_S = 30    /* for the child to end after SIGTERM */
};

/* Waits for a signal; once stopping, only so long. False: too long. */
static bool signal_wait(const sigset_t *set, bool stopping, int *ret_signal)
{
    const struct timespec most = {.tv_sec = STOP_MAX_S};
    int signal = stopping ? sigtimedwait(set, NULL, &most) : sigwaitinfo(set, NULL);
    *ret_signal = signal;
    return signal >= 0 || errno != EAGAIN;
}

/* Until the child has ended: its status. SIGTERM and SIGINT are passed on. */
static int child_wait(pid_t child, const sigset_t *set, bool *ret_stopping)
{
    int status = 0;
    int signal = 0;
    *ret_stopping = false;
    for (;;) {
        pid_t ended = waitpid(child, &status, WNOHANG);
        if (ended == child || (ended < 0 && errno != EINTR))
            return status;
        if (!signal_wait(set, *ret_stopping, &signal))
            (void)kill(child, SIGKILL);
        if (signal != SIGTERM && signal != SIGINT)
            continue;
        (void)kill(child, SIGTERM);
        *ret_stopping = true;
    }
}

int main(int argc, char **argv)
{
    sigset_t set;
    sigset_t none;
    bool stopping = false;
    char *end = NULL;
    long child = argc >= 4 ? strtol(argv[1], &end, 10) : 0;
    if (child <= 1 || end == NULL || *end != '\0') {
        (void)fputs("usage: muster-guard PID PROGRAM NAME [ARGUMENT...]\n\nmuster-agent becomes this by itself; see "
                    "muster-agent(8).\n",
                    stderr);
        return EXIT_USAGE;
    }
    (void)sigemptyset(&none);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    int status = child_wait((pid_t)child, &set, &stopping);
    if (WIFSIGNALED(status))
        return EXIT_SIGNALLED + WTERMSIG(status);
    if (WEXITSTATUS(status) != LAUNCH_AGAIN || stopping)
        return WEXITSTATUS(status);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)execv(argv[2], argv + 3);
    perror(argv[2]);
    return EXIT_FAILURE;
}
