#include "cli/effort.h"

#include "common/base/text.h"

enum err effort_take(struct cli *cli, enum delta_effort fallback, enum delta_effort *ret_effort)
{
    static const char *const names[] = {"fast", "best"};
    const char *text = option_text(cli, "effort");
    int which = text == NULL ? (int)fallback : text_index(text, names, 2);
    if (which < 0)
        return usage_error(cli, "--effort \"%.40s\": fast or best is expected", text);
    *ret_effort = (enum delta_effort)which;
    return ERR_OK;
}
