#include "common/base/err.h"

#include "common/base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void info_fill(struct err_info *info, const char *code, const char *field, const char *fmt, va_list args)
{
    if (info == NULL)
        return;
    *info = (struct err_info){.offset = -1};
    (void)snprintf(info->code, sizeof info->code, "%s", code);
    (void)snprintf(info->field, sizeof info->field, "%s", field);
    (void)vsnprintf(info->text, sizeof info->text, fmt, args);
    text_printable(info->text); /* it may quote what somebody sent, and may be cut inside a character */
    text_printable(info->field);
}

enum err err_set(struct err_info *info, enum err e, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    info_fill(info, "", "", fmt, args);
    va_end(args);
    return e;
}

enum err err_code(struct err_info *info, enum err e, const char *code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    info_fill(info, code, "", fmt, args);
    va_end(args);
    return e;
}

enum err err_field(struct err_info *info, enum err e, const char *field, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    info_fill(info, "", field, fmt, args);
    va_end(args);
    return e;
}

void err_next(struct err_info *info, const char *fmt, ...)
{
    if (info == NULL)
        return;
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(info->next, sizeof info->next, fmt, args);
    va_end(args);
    text_printable(info->next);
}

const char *err_name(enum err e)
{
    static const char *const names[ERR_COUNT_] = {
        [ERR_OK] = "ok",
        [ERR_INVALID] = "invalid",
        [ERR_UNAUTHENTICATED] = "unauthenticated",
        [ERR_FORBIDDEN] = "forbidden",
        [ERR_NOT_FOUND] = "not_found",
        [ERR_METHOD] = "method_not_allowed",
        [ERR_CONFLICT] = "conflict",
        [ERR_TOO_LARGE] = "too_large",
        [ERR_UNSUPPORTED] = "unsupported",
        [ERR_UNTRUSTED] = "untrusted",
        [ERR_CORRUPT] = "corrupt",
        [ERR_RATE] = "rate_limited",
        [ERR_TIMEOUT] = "timeout",
        [ERR_UNAVAILABLE] = "unavailable",
        [ERR_NO_SPACE] = "no_space",
        [ERR_NO_MEMORY] = "no_memory",
        [ERR_IO] = "io_error",
        [ERR_INTERNAL] = "internal",
    };
    return (unsigned)e < ERR_COUNT_ ? names[e] : "internal";
}

const char *err_words(enum err e)
{
    switch (e) {
    case ERR_NOT_FOUND:
        return "it is not there";
    case ERR_FORBIDDEN:
        return "that is not allowed";
    case ERR_CONFLICT:
        return "it exists already";
    case ERR_TOO_LARGE:
        return "it is too large";
    case ERR_CORRUPT:
        return "it is damaged";
    case ERR_NO_SPACE:
        return "no space is left";
    case ERR_NO_MEMORY:
        return "not enough memory";
    case ERR_IO:
        return "an input or output error";
    default:
        return err_name(e);
    }
}

enum err err_from_errno(int number)
{
    switch (number) {
    case ENOENT:
        return ERR_NOT_FOUND;
    case EEXIST:
        return ERR_CONFLICT;
    case EACCES:
    case EPERM:
        return ERR_FORBIDDEN;
    case ENOSPC:
    case EDQUOT:
        return ERR_NO_SPACE;
    case ENOMEM:
        return ERR_NO_MEMORY;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
        return ERR_UNAVAILABLE;
    default:
        return ERR_IO;
    }
}
