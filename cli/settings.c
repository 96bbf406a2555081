/* musterctl's settings: their table, and where they may stand on the command line. */
#include "cli/command.h"

#include "common/base/text.h"

#include <string.h>

const struct conf_option settings_options[] = {
    {"server", CONF_TEXT, "https://localhost:8443", 0, 0, "address of musterd"},
    {"ca", CONF_PATH, "", 0, 0, "file with the CA of musterd's certificate; without it: the CAs of this system"},
    {"token", CONF_TEXT, "", 0, 0, "API token; better in a file: other users may see flags"},
    {"token_file", CONF_PATH, "", 0, 0, "file with the API token; without it: ~/.config/muster/token, made by login"},
    {"output", CONF_TEXT, "table", 0, 0, "table for people, or json: the API's answer as it is"},
};
const size_t settings_count = sizeof settings_options / sizeof settings_options[0];

/* "--token-file" or "--token-file=x" names the setting with this key. */
static bool names_setting(const char *arg, const char *key)
{
    const char *name = arg + 2;
    for (; *key != '\0'; key++, name++)
        if (*name != *key && !(*name == '-' && *key == '_'))
            return false;
    return *name == '\0' || *name == '=';
}

static bool is_setting(const char *arg)
{
    if (!text_starts(arg, "--"))
        return false;
    for (size_t i = 0; i < settings_count; i++)
        if (names_setting(arg, settings_options[i].key))
            return true;
    return names_setting(arg, "config");
}

int settings_first(int argc, char **argv, char **out)
{
    int n = 0;
    int command = 0;
    int end = 1; /* behind the last word that may be a setting */
    while (end < argc && !text_eq(argv[end], "--"))
        end++;
    out[n++] = argv[0];
    for (int pass = 0; pass < 2; pass++) {
        command = n;
        for (int i = 1; i < argc; i++) {
            bool setting = i < end && is_setting(argv[i]);
            bool pair = setting && strchr(argv[i], '=') == NULL && i + 1 < argc;
            if (setting == (pass == 0)) {
                out[n++] = argv[i];
                if (pair)
                    out[n++] = argv[i + 1];
            }
            i += pair ? 1 : 0;
        }
    }
    out[n] = NULL;
    return command;
}

bool wants_json(const struct cli *cli)
{
    return text_eq(conf_text(cli->conf, "output"), "json");
}
