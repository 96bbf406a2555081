#include "cli/error.h"

#include "common/base/text.h"

#include <stdio.h>

static void line_print(const char *label, const char *text)
{
    char shown[2048];
    if (text == NULL || *text == '\0')
        return;
    (void)text_copy(shown, sizeof shown, text);
    text_printable(shown);
    fprintf(stderr, "%s%s\n", label, shown);
}

/* Leaves out what only repeats the detail. */
static void field_errors_print(const json_t *errors, const char *detail)
{
    for (size_t i = 0; i < json_array_size(errors); i++) {
        const json_t *error = json_array_get(errors, i);
        const char *field = json_text_or_null(error, "field");
        const char *message = json_text_or_null(error, "message");
        char line[1024];
        if (text_eq(message, detail))
            continue;
        (void)snprintf(line, sizeof line, "%s: %s", field == NULL ? "" : field, message == NULL ? "" : message);
        line_print("  field:   ", line);
    }
}

void error_print(const struct cli *cli, enum err e)
{
    if (cli->problem != NULL) {
        line_print("musterctl: ", json_text_or_null(cli->problem, "title"));
        line_print("  why:     ", json_text_or_null(cli->problem, "detail"));
        field_errors_print(json_object_get(cli->problem, "field_errors"), json_text_or_null(cli->problem, "detail"));
        line_print("  next:    ", json_text_or_null(cli->problem, "next"));
        line_print("  code:    ", json_text_or_null(cli->problem, "code"));
        line_print("  request: ", json_text_or_null(cli->problem, "request_id"));
        return;
    }
    line_print("musterctl: ", cli->info.text[0] != '\0' ? cli->info.text : err_words(e));
    line_print("  next:    ", cli->info.next);
}
