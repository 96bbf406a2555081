/* muster-fetch: does one request for muster-agent (docs/man/muster-fetch.8) and ends. All HTTPS and everything that
 * parses bytes nobody has vouched for yet happens here, in a process that holds nothing and lives for one request. */

#include "agent/fetch/request.h"
#include "common/base/buf.h"
#include "common/base/process.h"
#include "common/base/text.h"
#include "common/base/version.h"

#include <curl/curl.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { REQUEST_MAX = 64 * 1024, EXIT_USAGE = 64 };

/* Keeps none of the agent's files, leaves no core (the request may hold a token), gains no rights. */
static void process_confine(void)
{
    const struct rlimit none = {0};
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)close_range(STDERR_FILENO + 1, ~0U, 0);
    (void)umask(077);
}

static bool input_read(struct buf *text, struct outcome *outcome)
{
    char bytes[4096];
    for (;;) {
        ssize_t n = read(STDIN_FILENO, bytes, sizeof bytes);
        if (n == 0)
            return true;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return outcome_retry(outcome, "io_error", "cannot read the request from stdin: %s", strerror(errno));
        if (buf_add(text, bytes, (size_t)n) != ERR_OK)
            return outcome_fail(outcome, "request_invalid", "the request on stdin is too large");
    }
}

static void request_do(const struct request *request, struct outcome *outcome)
{
    static const struct {
        const char *name;
        void (*run)(const struct request *request, struct outcome *outcome);
    } operations[] = {{"enrol", operation_enrol},   {"renew", operation_renew},   {"desired", operation_desired},
                      {"object", operation_object}, {"unpack", operation_unpack}, {"verify", operation_verify}};
    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++) {
        if (text_eq(request->operation, operations[i].name)) {
            operations[i].run(request, outcome);
            return;
        }
    }
    (void)outcome_fail(outcome, "request_invalid", "operation %s is not known", request->operation);
}

static int usage(int argc, char **argv)
{
    if (argc == 2 && text_eq(argv[1], "--version")) {
        printf("muster-fetch %s\n", MUSTER_VERSION);
        return EXIT_SUCCESS;
    }
    bool help = argc == 2 && text_eq(argv[1], "--help");
    (void)fprintf(help ? stdout : stderr,
                  "usage: muster-fetch [--help | --version]\n\nReads one request as JSON from stdin and writes its "
                  "progress and answer as JSON lines to stdout.\nmuster-agent starts it; see muster-fetch(8).\n");
    return help ? EXIT_SUCCESS : EXIT_USAGE;
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return usage(argc, argv);
    struct outcome outcome = {0};
    struct request request = {0};
    struct buf text = BUF_INIT(REQUEST_MAX);
    if (!process_follow_parent()) /* the next agent starts another one, and two would work on the same files */
        return EXIT_FAILURE;
    process_confine();
    process_yield();
    json_start();
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        (void)outcome_retry(&outcome, "internal", "libcurl cannot be started");
    else if (input_read(&text, &outcome) &&
             request_parse(text.data == NULL ? "" : text.data, text.len, &request, &outcome))
        request_do(&request, &outcome);
    request_free(&request);
    if (text.data != NULL)
        explicit_bzero(text.data, text.len);
    buf_free(&text);
    return outcome_finish(&outcome);
}
