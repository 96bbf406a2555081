#include "common/base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

enum { LOG_LINE_MAX = 1024 };

static atomic_int log_threshold = LOG_INFO_;

void log_level_set(enum log_level level)
{
    atomic_store(&log_threshold, (int)level);
}

static void log_line(enum log_level level, const char *event, const char *fmt, va_list args)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    if ((int)level < atomic_load(&log_threshold))
        return;
    char line[LOG_LINE_MAX];
    int n = snprintf(line, sizeof line - 1, "level=%s event=%s ", names[level], event);
    if (n < 0 || n >= (int)sizeof line - 1)
        return;
    int m = vsnprintf(line + n, sizeof line - 1 - (size_t)n, fmt, args);
    if (m < 0)
        return;
    n = n + m < (int)sizeof line - 2 ? n + m : (int)sizeof line - 2;
    for (int i = 0; i < n; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    line[n] = '\n';
    /* One write, so that lines of several threads never mix; a log that cannot be written has nobody to be told. */
    if (write(STDERR_FILENO, line, (size_t)n + 1) < 0)
        return;
}

#define LOG_FUNCTION(name, level)                                                                                      \
    void name(const char *event, const char *fmt, ...)                                                                 \
    {                                                                                                                  \
        va_list args;                                                                                                  \
        va_start(args, fmt);                                                                                           \
        log_line(level, event, fmt, args);                                                                             \
        va_end(args);                                                                                                  \
    }

LOG_FUNCTION(log_debug, LOG_DEBUG_)
LOG_FUNCTION(log_info, LOG_INFO_)
LOG_FUNCTION(log_warn, LOG_WARN_)
LOG_FUNCTION(log_error, LOG_ERROR_)
