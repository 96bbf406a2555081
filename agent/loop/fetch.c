#include "agent/loop/fetch.h"

#include "common/base/cleanup.h"
#include "common/base/crypt.h"
#include "common/base/text.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

enum { ANSWER_MAX = JSON_BYTES_MAX + 4096 }; /* a desired document and its envelope */

/* {"progress": "<bytes>"} as often as it likes, then one line with "ok". */
static void fetch_line(void *user, char *text)
{
    struct fetch *fetch = user;
    json_t *line = NULL;
    int64_t bytes = 0;
    if (json_parse(text, strlen(text), ANSWER_MAX, &line, NULL) != ERR_OK)
        return;
    if (json_get_id(line, "progress", 0, &bytes, NULL) == ERR_OK) {
        json_decref(line);
        if (fetch->progress != NULL)
            fetch->progress(fetch->user, bytes);
        return;
    }
    json_decref(fetch->answer);
    fetch->answer = line;
}

/* How it ended, when it did not say so itself. */
static void fetch_silent(struct fetch_answer *answer, int status, char *text, size_t size)
{
    char how[64];
    child_status_text(status, how, sizeof how);
    (void)snprintf(text, size, "muster-fetch gave no answer: %s", how);
    *answer = (struct fetch_answer){.transient = true, .code = "internal", .detail = text};
}

/* All devices of a fleet may have been told the same, so nobody comes back at the very moment. */
static int64_t answer_wait_ms(const json_t *json)
{
    enum { WAIT_MOST_S = 3600 };
    int64_t wait_s = 0;
    if (!json_has(json, "retry_after_s") || json_get_i64(json, "retry_after_s", 0, INT64_MAX, &wait_s, NULL) != ERR_OK)
        return 0;
    if (wait_s > WAIT_MOST_S)
        wait_s = WAIT_MOST_S;
    return (int64_t)((double)wait_s * 1000.0 * (1.0 + 0.3 * random_unit()));
}

static void fetch_done(void *user, int status)
{
    struct fetch *fetch = user;
    json_t *json = fetch->answer;
    fetch->answer = NULL;
    struct fetch_answer answer = {.json = json};
    char text[128];
    bool transient = false;
    bool ok = false;
    bool complete = json != NULL && WIFEXITED(status) && json_get_bool(json, "ok", &ok, NULL) == ERR_OK;
    if (!complete) {
        fetch_silent(&answer, status, text, sizeof text);
    } else if (ok) {
        answer.ok = true;
    } else {
        answer.code = json_text_or_null(json, "code");
        answer.detail = json_text_or_null(json, "detail");
        answer.transient = json_get_bool(json, "transient", &transient, NULL) == ERR_OK && transient;
        answer.wait_ms = answer_wait_ms(json);
        if (answer.code == NULL || answer.detail == NULL)
            fetch_silent(&answer, status, text, sizeof text);
    }
    fetch->done(fetch->user, &answer);
    json_decref(json);
}

/* The whole request as one line. */
static enum err request_print(const struct fetch_setup *setup, const char *operation, json_t *members, char **ret_text)
{
    json_t *request = json_pack("{ss ss ss ss ss}", "operation", operation, "url", setup->server_url, "ca",
                                setup->server_ca, "certificate", setup->certificate, "key", setup->key);
    enum err e = ERR_NO_MEMORY;
    if (request != NULL && members != NULL && json_object_update(request, members) == 0)
        e = json_print(request, ret_text, NULL);
    json_decref(request);
    json_decref(members);
    return e;
}

enum err fetch_start(struct fetch *fetch, struct loop *loop, const struct fetch_setup *setup, const char *operation,
                     json_t *members, void (*progress)(void *user, int64_t bytes),
                     void (*done)(void *user, const struct fetch_answer *answer), void *user, struct err_info *info)
{
    cleanup_free char *text = NULL;
    enum err e = request_print(setup, operation, members, &text);
    if (e != ERR_OK)
        return err_set(info, e, "cannot make the request: %s", err_name(e));
    const char *argv[] = {setup->program, NULL};
    struct child_spec spec = {.argv = argv,
                              .input = text,
                              .output = CHILD_STDOUT,
                              .line_max = ANSWER_MAX,
                              .line = fetch_line,
                              .done = fetch_done,
                              .user = fetch};
    e = child_start(&fetch->child, loop, &spec, info);
    if (e != ERR_OK)
        return e;
    fetch->progress = progress;
    fetch->done = done;
    fetch->user = user;
    return ERR_OK;
}

bool fetch_running(const struct fetch *fetch)
{
    return child_running(&fetch->child);
}

void fetch_cancel(struct fetch *fetch)
{
    child_destroy(&fetch->child);
    json_decref(fetch->answer);
    fetch->answer = NULL;
}
