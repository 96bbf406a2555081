/* musterctl-full: all commands. musterctl (cli/main.c) becomes this program. */
#include "cli/commands.h"
#include "cli/run.h"

#include <curl/curl.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        (void)fputs("musterctl: HTTPS cannot be started: no memory\n", stderr);
        return 1;
    }
    int status = cli_run(command_tables, argc, argv);
    curl_global_cleanup();
    return status;
}
