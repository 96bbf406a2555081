#include "agent/fetch/outcome.h"

#include "common/base/buf.h"
#include "common/base/file.h"
#include "common/base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_FAILED = 1, EXIT_LATER = 75 /* EX_TEMPFAIL of sysexits.h */, LINE_MAX_BYTES = JSON_BYTES_MAX + 4096 };

static void outcome_fill(struct outcome *outcome, bool transient, const char *code, const char *fmt, va_list args)
{
    outcome->ok = false;
    outcome->transient = transient;
    (void)text_copy(outcome->code, sizeof outcome->code, code);
    (void)vsnprintf(outcome->detail, sizeof outcome->detail, fmt, args);
    /* What a server or a file says ends here as one line of ASCII, so that it can be shown, stored and sent on. */
    for (char *c = outcome->detail; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || (unsigned char)*c >= 0x7f)
            *c = '?';
}

bool outcome_fail(struct outcome *outcome, const char *code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    outcome_fill(outcome, false, code, fmt, args);
    va_end(args);
    return false;
}

bool outcome_retry(struct outcome *outcome, const char *code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    outcome_fill(outcome, true, code, fmt, args);
    va_end(args);
    return false;
}

bool outcome_error(struct outcome *outcome, enum err e, const char *code, const struct err_info *info)
{
    const char *text = info != NULL && info->text[0] != '\0' ? info->text : err_name(e);
    const char *next = info != NULL ? info->next : "";
    if (e == ERR_NO_MEMORY)
        return outcome_retry(outcome, "internal", "out of memory");
    if (e == ERR_NO_SPACE)
        code = "disk_full";
    if (e == ERR_IO)
        code = "io_error";
    return outcome_fail(outcome, code, "%s%s%s", text, *next != '\0' ? "; " : "", next);
}

void line_print(const json_t *json)
{
    char *text = NULL;
    struct buf line = BUF_INIT(LINE_MAX_BYTES);
    if (json_print(json, &text, NULL) == ERR_OK && buf_addf(&line, "%s\n", text) == ERR_OK &&
        file_write_fd(STDOUT_FILENO, line.data, line.len) != ERR_OK)
        _exit(EXIT_LATER);
    free(text);
    buf_free(&line);
}

int outcome_finish(struct outcome *outcome)
{
    json_t *line = outcome->ok ? json_pack("{sb}", "ok", true)
                               : json_pack("{sb sb ss ss}", "ok", false, "transient", outcome->transient, "code",
                                           outcome->code, "detail", outcome->detail);
    if (line != NULL && !outcome->ok && outcome->retry_after_s > 0 &&
        json_object_set_new(line, "retry_after_s", json_integer(outcome->retry_after_s)) != 0) {
        json_decref(line);
        line = NULL;
    }
    if (line != NULL && outcome->answer != NULL && json_object_update(line, outcome->answer) != 0) {
        json_decref(line);
        line = NULL; /* no answer at all: the agent takes it for one that may work later */
    }
    if (line != NULL)
        line_print(line);
    json_decref(line);
    json_decref(outcome->answer);
    outcome->answer = NULL;
    if (outcome->ok)
        return line == NULL ? EXIT_LATER : EXIT_SUCCESS;
    return outcome->transient ? EXIT_LATER : EXIT_FAILED;
}
