/* on_trial all|alone TRACER [OPTION...] -- PROGRAM [ARGUMENT...]
 *
 * Becomes PROGRAM, a muster-agent. As soon as it, or what it starts, executes a version on trial (MUSTER_GUARDED=1),
 * the TRACER is attached to that process, with `-p PID`, before it has made a system call. all: the guard stands still
 * from then on, and is killed when the version on trial has ended, as if everything had ended at one moment. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ENVIRON_MAX = 256 * 1024, ATTACH_TRIES = 5000, WORDS_MAX = 64 };

/* The content of /proc/PID/NAME with a NUL at its end; its length. */
static size_t proc_read(pid_t pid, const char *name, char *text, size_t size)
{
    char path[64];
    size_t len = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    for (ssize_t n = 1; fd >= 0 && n > 0 && len<size - 1; len += n> 0 ? (size_t)n : 0)
        n = read(fd, text + len, size - 1 - len);
    if (fd >= 0)
        (void)close(fd);
    text[len] = '\0';
    return len;
}

static bool on_trial(pid_t pid)
{
    static char text[ENVIRON_MAX];
    size_t len = proc_read(pid, "environ", text, sizeof text);
    for (size_t at = 0; at < len; at += strlen(text + at) + 1)
        if (strcmp(text + at, "MUSTER_GUARDED=1") == 0)
            return true;
    return false;
}

static bool traced(pid_t pid)
{
    char text[4096];
    (void)proc_read(pid, "status", text, sizeof text);
    const char *line = strstr(text, "TracerPid:");
    return line != NULL && strtol(line + sizeof "TracerPid:" - 1, NULL, 10) != 0;
}

/* Hands the process, which stands at the end of its exec, over to the tracer. */
static pid_t hand_over(pid_t pid, char **tracer, int words)
{
    char *argv[WORDS_MAX + 3] = {0};
    char number[16];
    (void)snprintf(number, sizeof number, "%d", (int)pid);
    for (int i = 0; i < words; i++)
        argv[i] = tracer[i];
    argv[words] = "-p";
    argv[words + 1] = number;
    (void)kill(pid, SIGSTOP); /* it stops as soon as it is let go */
    (void)ptrace(PTRACE_DETACH, pid, NULL, NULL);
    pid_t child = fork();
    if (child == 0) {
        (void)execvp(argv[0], argv);
        _exit(127);
    }
    const struct timespec millisecond = {.tv_nsec = 1000000};
    for (int i = 0; i < ATTACH_TRIES && !traced(pid); i++)
        (void)nanosleep(&millisecond, NULL);
    (void)kill(pid, SIGCONT);
    return child;
}

/* Lets a stopped process go on; false: it stands at the end of an exec. */
static bool go_on(pid_t pid, int status, pid_t frozen)
{
    int event = status >> 16;
    int signal = WSTOPSIG(status);
    if (event == PTRACE_EVENT_EXEC)
        return false;
    if (event == PTRACE_EVENT_STOP &&
        (signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU))
        (void)ptrace(PTRACE_LISTEN, pid, NULL, NULL);
    else if (pid != frozen || event != PTRACE_EVENT_STOP)
        (void)ptrace(PTRACE_CONT, pid, NULL, event != 0 ? 0L : (long)signal);
    return true;
}

/* Until everything has ended. */
static void watch(pid_t agent, bool all, char **tracer, int words)
{
    pid_t child = 0;  /* the tracer, once it runs */
    pid_t frozen = 0; /* the guard, if it has to stand still */
    for (;;) {
        int status = 0;
        pid_t pid = waitpid(-1, &status, __WALL);
        if (pid < 0 && errno != EINTR)
            return;
        if (pid > 0 && pid == child && !WIFSTOPPED(status) && all)
            (void)kill(agent, SIGKILL);
        if (pid < 0 || !WIFSTOPPED(status) || go_on(pid, status, frozen))
            continue;
        if (child != 0 || !on_trial(pid)) {
            (void)ptrace(PTRACE_CONT, pid, NULL, NULL);
            continue;
        }
        frozen = all ? agent : 0;
        if (all)
            (void)ptrace(PTRACE_INTERRUPT, agent, NULL, NULL);
        child = hand_over(pid, tracer, words);
    }
}

int main(int argc, char **argv)
{
    int end = 2;
    int pipes[2];
    char byte = 0;
    while (end < argc && strcmp(argv[end], "--") != 0)
        end++;
    if (end + 1 >= argc || end == 2 || end - 2 > WORDS_MAX || pipe2(pipes, O_CLOEXEC) != 0) {
        (void)fputs("usage: on_trial all|alone TRACER [OPTION...] -- PROGRAM [ARGUMENT...]\n", stderr);
        return 64;
    }
    pid_t agent = getpid();
    pid_t child = fork();
    if (child == 0) {
        bool good = prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == agent &&
                    ptrace(PTRACE_SEIZE, agent, NULL,
                           PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC) == 0;
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (!good || null < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0 || write(pipes[1], "+", 1) != 1)
            return 1;
        watch(agent, strcmp(argv[1], "all") == 0, argv + 2, end - 2);
        return 0;
    }
    (void)close(pipes[1]);
    if (child < 0 || read(pipes[0], &byte, 1) != 1) {
        (void)fputs("on_trial: the process cannot be traced\n", stderr);
        return 1;
    }
    (void)execv(argv[end + 1], argv + end + 1);
    perror(argv[end + 1]);
    return 1;
}
