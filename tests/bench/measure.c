/* Runs a program and writes what it took: wall time, processor time, and the most memory it had resident.
 *   measure [-a KIB] [-1] FILE PROGRAM [WORD...]
 * -a: with so much address space only, like ulimit -v. -1: on one processor. FILE gets one line:
 * microseconds of wall time, of user and system time, KiB resident. Exit status: the program's.
 *
 * A program of its own, because a child's peak counts from the fork on: started by a large process, a small one looks
 * large. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_BROKEN = 125, EXIT_NO_PROGRAM = 127, EXIT_SIGNAL = 128 };

static long long micros(struct timeval t)
{
    return 1000000LL * t.tv_sec + t.tv_usec;
}

static long long mono_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return 1000000LL * now.tv_sec + now.tv_nsec / 1000;
}

static _Noreturn void become(char **argv, long long address_kib, int one_processor)
{
    struct rlimit limit = {.rlim_cur = (rlim_t)address_kib * 1024, .rlim_max = (rlim_t)address_kib * 1024};
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)sched_getcpu(), &set);
    if (one_processor != 0 && sched_setaffinity(0, sizeof set, &set) != 0)
        _exit(EXIT_BROKEN);
    if (address_kib > 0 && setrlimit(RLIMIT_AS, &limit) != 0)
        _exit(EXIT_BROKEN);
    (void)execvp(*argv, argv);
    (void)fprintf(stderr, "measure: %s: %s\n", *argv, strerror(errno));
    _exit(EXIT_NO_PROGRAM);
}

static int report(const char *path, long long wall, const struct rusage *used)
{
    FILE *file = fopen(path, "w");
    if (file == NULL || fprintf(file, "%lld %lld %lld %ld\n", wall, micros(used->ru_utime), micros(used->ru_stime),
                                used->ru_maxrss) < 0) {
        (void)fprintf(stderr, "measure: %s: %s\n", path, strerror(errno));
        return EXIT_BROKEN;
    }
    return fclose(file) == 0 ? 0 : EXIT_BROKEN;
}

int main(int argc, char **argv)
{
    long long address_kib = 0;
    int one_processor = 0;
    int status = 0;
    struct rusage used;
    for (int option; (option = getopt(argc, argv, "+a:1")) != -1;) {
        if (option == 'a')
            address_kib = strtoll(optarg, NULL, 10);
        else if (option == '1')
            one_processor = 1;
        else
            return EXIT_BROKEN;
    }
    if (argc - optind < 2) {
        (void)fputs("usage: measure [-a KIB] [-1] FILE PROGRAM [WORD...]\n", stderr);
        return EXIT_BROKEN;
    }
    long long begin = mono_us();
    pid_t child = fork();
    if (child == 0)
        become(argv + optind + 1, address_kib, one_processor);
    if (child < 0 || wait4(child, &status, 0, &used) != child) {
        (void)fprintf(stderr, "measure: %s\n", strerror(errno));
        return EXIT_BROKEN;
    }
    int bad = report(argv[optind], mono_us() - begin, &used);
    if (bad != 0)
        return bad;
    return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_SIGNAL + WTERMSIG(status);
}
